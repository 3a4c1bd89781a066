"""Hidden states of the torch engine through the host: what lets a comparison name the first layer that differs."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from pytest_aprqa.engines.errors import EngineError, EngineUnavailable
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import describe_artifact
from tests.engines.misbehaving_engines import Behaves

IDS = [5, 9, 77, 3]


def test_states_after_embedding_and_each_layer_lead_to_the_logits(random_qwen2_folder: Path, tmp_path: Path) -> None:
    with EngineHost("torch", threads=1) as host:
        host.load(describe_artifact(random_qwen2_folder, "safetensors"), 60)
        states = host.hidden_states(IDS, 60)
        logits = host.logits(IDS, 60)
        assert len(states) == 1 + 3
        assert {(state.shape, state.dtype.name) for state in states} == {((len(IDS), 64), "float32")}
        host.load(derive(random_qwen2_folder, "gguf", cache=tmp_path), 60)
        for state, other in zip(states, host.hidden_states(IDS, 60), strict=True):
            assert numpy.allclose(state, other, atol=1e-5)
        # The head is tied: the last, normed state times the embedding is the logits.
        assert numpy.allclose(states[-1] @ _embedding(random_qwen2_folder).T, logits, atol=1e-3)
        assert host.encode(["What is 2+2?", ""], 60)[1] == []
        for bad in ([], [-1], [10**6], [1] * 513):
            with pytest.raises(EngineError, match="limit"):
                host.hidden_states(bad, 60)


def test_engines_without_hidden_states_say_so(tmp_path: Path) -> None:
    with EngineHost(f"{Behaves.__module__}:Behaves") as host:
        host.start()
        for ask in (lambda: host.hidden_states([1], 10), lambda: host.encode(["a"], 10)):
            with pytest.raises(EngineUnavailable, match="the engine behaves has no such thing"):
                ask()


def _embedding(folder: Path) -> numpy.ndarray:
    from pytest_aprqa.formats.opening import open_tensor_file

    with open_tensor_file(folder) as file:
        return numpy.asarray(file.read("model.embed_tokens.weight"), dtype=numpy.float32)
