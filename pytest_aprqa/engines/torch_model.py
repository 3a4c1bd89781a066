"""A transformers model made as an artifact declares it and filled strictly with the artifact's own tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy
import torch
import transformers

from pytest_aprqa.engines.errors import EngineLoadError
from pytest_aprqa.formats.permutation import unpermute_rows
from pytest_aprqa.models.artifact import Artifact, OpenArtifact
from pytest_aprqa.models.families import expected_tensors

HEAD = "lm_head.weight"
FLOAT32_PARAMETERS = 300_000_000  # below this many, float32 costs little and is the reference's own type
STORED_AS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PIECE = 1 << 24  # bytes of a stored tensor at once
SHOWN = 5


def import_libraries() -> None:
    """All that transformers imports only when a model is made; nothing is computed and no thread is started."""
    config = transformers.AutoConfig.for_model(
        "qwen2", hidden_size=2, intermediate_size=2, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        vocab_size=2,
    )  # fmt: skip
    with torch.device("meta"):
        transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def check_names(opened: OpenArtifact, artifact: Artifact) -> list[str]:
    """Names of the tensors that the model is filled with. EngineLoadError: missing, extra and misshapen ones."""
    expected = expected_tensors(opened.config)
    present = opened.tensors.names()
    extra = [n for n in present if n not in expected and not n.endswith("rotary_emb.inv_freq")]
    if HEAD in extra and opened.config.tied_embeddings:
        extra.remove(HEAD)
    missing = sorted(expected.keys() - set(present))
    shapes = {name: tuple(opened.tensors.entry(name).shape) for name in present if name in expected}
    wrong = [name for name, shape in shapes.items() if shape != expected[name]]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors are missing: {', '.join(missing[:SHOWN])}")
    if extra:
        problems.append(f"{len(extra)} tensors have no place in the model: {', '.join(extra[:SHOWN])}")
    problems += [
        f"tensor {name}: shape {list(shapes[name])}, the model needs {list(expected[name])}" for name in wrong[:SHOWN]
    ]
    if len(wrong) > SHOWN:
        problems.append(f"{len(wrong) - SHOWN} more tensors have a wrong shape")
    if problems:
        raise EngineLoadError(f"{artifact.path}: {'; '.join(problems)}")
    return list(shapes)


def check_filled(model: Any, artifact: Artifact) -> None:
    """What transformers' model has and nobody filled would be no weight at all."""
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise EngineLoadError(
            f"{artifact.path}: the model that the artifact declares has {len(empty)} tensors that the declaration does"
            f" not account for: {', '.join(empty[:SHOWN])}"
        )


def compute_type(opened: OpenArtifact, names: list[str]) -> torch.dtype:
    """float32 for a small model and for one stored in it, else bfloat16."""
    parameters = sum(int(numpy.prod(opened.tensors.entry(name).shape)) for name in names)
    if parameters < FLOAT32_PARAMETERS:
        return torch.float32
    kinds = {opened.tensors.entry(name).dtype for name in names}
    return torch.float32 if kinds == {"F32"} else torch.bfloat16


def empty_model(opened: OpenArtifact, dtype: torch.dtype, device: str) -> Any:
    """transformers' model as the artifact declares it, without weights."""
    config = transformers.AutoConfig.for_model(opened.config.architecture, **opened.config.to_transformers())
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=dtype)
    # Rotary tables are not parameters: computed again outside the meta device, from the artifact's own base.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config).to(device)
    return model


def fill(model: Any, name: str, opened: OpenArtifact, dtype: torch.dtype, device: str) -> None:
    """Give the model one tensor of the artifact; besides the result only a piece of it is in memory."""
    module_name, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
        current = module._parameters[leaf]
    except (AttributeError, KeyError):
        raise EngineLoadError(f"{opened.file.path}: tensor {name} has no place in the model") from None
    shape = tuple(opened.tensors.entry(name).shape)
    if tuple(current.shape) != shape:
        raise EngineLoadError(
            f"{opened.file.path}: tensor {name}: shape {list(shape)}, the model needs {list(current.shape)}"
        )
    tensor = torch.empty(shape, dtype=dtype, device=device)
    flat, at = tensor.view(-1), 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given (NumPy array|buffer) is not writable")  # it is only read
        for values in _pieces(opened, name):
            flat[at : at + values.numel()] = values
            at += values.numel()
    module._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)


def _pieces(opened: OpenArtifact, name: str) -> Iterator[torch.Tensor]:
    """Flat values of one tensor as the model computes with them, in float32 or as they are stored."""
    config = opened.config
    if config.rope_style == "interleaved" and (".q_proj." in name or ".k_proj." in name):
        # The file declares that adjacent pairs rotate; transformers rotates halves. Reordering the rows of each head
        # makes the one compute the other.
        values: numpy.ndarray = opened.tensors.read(name)
        heads = config.num_heads if ".q_proj." in name else config.num_kv_heads
        yield torch.from_numpy(numpy.ascontiguousarray(unpermute_rows(values, heads))).view(-1)
        return
    stored, kind = opened.tensors.stored(name), STORED_AS.get(opened.tensors.entry(name).dtype)
    if stored is None or kind is None or stored.ctypes.data % kind.itemsize:
        yield from map(torch.from_numpy, opened.tensors.chunks(name))
        return
    for start in range(0, stored.size, PIECE):
        piece = stored[start : start + PIECE]
        yield torch.from_numpy(piece).view(kind)  # torch converts on all cores
        opened.tensors.count_read(name, piece.size)
