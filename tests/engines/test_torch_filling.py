"""The torch engine's model is filled whole or not at all; what one step of it costs; what the GPU engine needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pytest_aprqa.engines.errors import EngineLoadError, EngineUnavailable
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.torch_engine import TorchEngine, TorchGpuEngine
from pytest_aprqa.engines.torch_model import SHOWN
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from tests.model_fixtures import PROMPTS, write_plain_safetensors, write_random_qwen2


def nothing(*event: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_qwen2(tmp_path_factory.mktemp("filling") / "model", dtype="F32")


@pytest.fixture(scope="module")
def engine(folder: Path) -> TorchEngine:
    engine = TorchEngine()
    engine.load(artifact_of(folder), nothing)
    return engine


def artifact_of(folder: Path) -> Artifact:
    return describe_artifact(folder / "model.safetensors", "safetensors")


def changed(folder: Path, target: Path, change: Any) -> Artifact:
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    write_plain_safetensors(target / "model.safetensors", tensors, "F32")
    return artifact_of(target)


def cut_rows(tensors: dict[str, Any], count: int) -> None:
    for name in [name for name in tensors if "proj.weight" in name][:count]:
        tensors[name] = np.ascontiguousarray(tensors[name][:-1])


@pytest.mark.parametrize("count", [SHOWN, SHOWN + 1])
def test_wrong_shapes_are_named_up_to_a_limit_and_counted_beyond(folder: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(EngineLoadError) as caught:
        TorchEngine().load(changed(folder, tmp_path / "bad", lambda tensors: cut_rows(tensors, count)), nothing)
    assert str(caught.value).count("the model needs") == SHOWN
    assert ("1 more tensors have a wrong shape" in str(caught.value)) == (count > SHOWN)


def test_declaration_that_leaves_out_weights_of_the_model_is_a_load_error(folder: Path, tmp_path: Path) -> None:
    # transformers' Qwen2 has biases whatever the declaration says: unfilled they would be no weights at all.
    def drop_biases(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith(".bias")]:
            del tensors[name]

    target = tmp_path / "unbiased"
    artifact = changed(folder, target, drop_biases)
    document = json.loads((target / "config.json").read_text()) | {"attention_bias": False}
    (target / "config.json").write_text(json.dumps(document))
    with pytest.raises(EngineLoadError, match=r"does not account for: .*proj.bias"):
        TorchEngine().load(artifact, nothing)


def test_every_weight_of_a_good_model_is_filled(engine: TorchEngine) -> None:
    model = engine._model
    assert not [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]


def test_a_step_computes_logits_of_the_last_position_only(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    forward = type(engine._model).forward

    def watched(model: Any, *positional: Any, **named: Any) -> Any:
        output = forward(model, *positional, **named)
        shapes.append(tuple(output.logits.shape))
        return output

    monkeypatch.setattr(type(engine._model), "forward", watched)
    vocabulary = engine._model.config.vocab_size
    engine.generate([GenerationRequest(prompt, prompt, max_new_tokens=3) for prompt in PROMPTS], nothing)
    assert set(shapes) == {(len(PROMPTS), 1, vocabulary)}
    shapes.clear()
    assert engine.logits([1, 2, 3]).shape == (3, vocabulary)
    assert shapes == [(1, 3, vocabulary)]


@pytest.mark.parametrize("piece", [1, 3, 8])
def test_prompts_taken_in_pieces_are_answered_as_whole_ones(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    requests = [GenerationRequest(prompt, prompt, max_new_tokens=8) for prompt in PROMPTS]
    whole = [result.new_ids for result in engine.generate(requests, nothing)]
    widths = []
    forward = type(engine._model).forward

    def watched(model: Any, *positional: Any, **named: Any) -> Any:
        widths.append(named["input_ids"].shape[1])
        return forward(model, *positional, **named)

    monkeypatch.setattr(type(engine._model), "forward", watched)
    monkeypatch.setattr("pytest_aprqa.engines.torch_engine.PREFILL_TOKENS", piece)
    assert [result.new_ids for result in engine.generate(requests, nothing)] == whole
    assert max(widths) == piece
    longest = max(len(engine._loaded().encode(prompt)) for prompt in PROMPTS)
    assert sum(widths[: -(-longest // piece)]) == longest


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-30])
def test_smallest_temperatures_are_greedy_and_not_infinite(engine: TorchEngine, temperature: float) -> None:
    greedy = [GenerationRequest("g", prompt, max_new_tokens=8) for prompt in PROMPTS]
    cold = [GenerationRequest("c", prompt, max_new_tokens=8, temperature=temperature) for prompt in PROMPTS]
    expected = [result.new_ids for result in engine.generate(greedy, nothing)]
    assert [result.new_ids for result in engine.generate(cold, nothing)] == expected


@pytest.mark.parametrize(("cuda", "reason"), [(None, "built without CUDA"), ("12.8", "built for CUDA 12.8")])
def test_gpu_engine_without_a_usable_device_is_unavailable_and_accuses_no_artifact(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(EngineUnavailable, match=f"no GPU: torch .*{reason}"):
        TorchGpuEngine().load(artifact_of(folder), nothing)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_engine_answers_as_the_cpu_engine(folder: Path, engine: TorchEngine) -> None:
    gpu = TorchGpuEngine()
    description = gpu.load(artifact_of(folder), nothing)
    assert description.backend == "gpu"
    requests = [GenerationRequest(prompt, prompt, max_new_tokens=8) for prompt in PROMPTS]
    assert [r.new_ids for r in gpu.generate(requests, nothing)] == [
        r.new_ids for r in engine.generate(requests, nothing)
    ]
