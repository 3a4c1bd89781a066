"""The tensors of a GGUF file of a family whose tensors are not Llama's: cut, stacked, transposed, regrouped, shifted.

Facts of llama.cpp's public converter and loaders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.joined_tensors import part_shapes, split_values
from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.formats.names import expert_names, gguf_name
from pytest_aprqa.formats.stored_order import Order, order_of, shape_of, to_stored
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.gguf_keys import PLAIN_TENSORS
from pytest_aprqa.lifecycle.gguf_rules import ADVICE
from pytest_aprqa.lifecycle.source import Source
from pytest_aprqa.lifecycle.tensor_types import encoded, encoded_values, is_buffer, target_dtype

HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_EXPERT = re.compile(r"model\.layers\.\d+\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.\w+\.weight")


@dataclass(frozen=True, slots=True)
class FamilyTensor:
    """One tensor of the file: `sources` are stacked (several), or cut into parts of which `part` is the number.

    `order`: what is done to the values of its one source.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    sources: tuple[TensorEntry, ...]
    part: int | None = None
    order: Order | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are read for it."""
        return sum(entry.nbytes for entry in self.sources)

    def payload(self, source: Source) -> NDArray[np.uint8]:
        """Its bytes; memory of the tensor, and of its source as float32 where it is cut, transposed or shifted."""
        if self.order is not None:
            return self._ordered(source, self.order)
        if self.part is None:
            pieces = [encoded(source.weights, entry, self.kind).reshape(-1) for entry in self.sources]
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        (entry,), config = self.sources, source.config
        whole, latent = source.weights.read(entry.name), config.latent
        parts = split_values(whole, config.num_heads, config.num_kv_heads, _split(source), latent=latent is not None)
        values = parts[self.part].reshape(-1, self.shape[-1])
        return encoded_values(source.weights, entry, self.kind, values).reshape(-1)

    def _ordered(self, source: Source, order: Order) -> NDArray[np.uint8]:
        (entry,), heads = self.sources, (source.config.num_heads, source.config.num_kv_heads)
        try:
            if order in (Order.ONE_ADDED, Order.TRANSPOSED):
                values = to_stored(source.weights.read(entry.name), order, *heads)
                return encoded_values(source.weights, entry, self.kind, np.atleast_2d(values)).reshape(-1)
            rows = encoded(source.weights, entry, self.kind).reshape(entry.shape[0], -1)
            moved: NDArray[np.uint8] = to_stored(rows, order, *heads).reshape(-1)
            return moved
        except ValueError as problem:
            raise LifecycleError(
                source.weights.path, entry.name, str(problem), advice="fetch config.json again"
            ) from None


def family_plan(source: Source, dtype: str) -> list[FamilyTensor]:
    """Every tensor of the GGUF file in the source's order. LifecycleError: what llama.cpp has no place for."""
    path, architecture = (
        source.weights.path,
        ARCHITECTURE_OF.get(source.config.architecture, source.config.architecture),
    )
    family = _table(source)
    plan: list[FamilyTensor] = []
    for name, entry in source.weights.entries.items():
        if is_buffer(entry) or (name in HEADS and source.config.tied_embeddings):
            continue
        parts = _parts(source, name, entry)
        for number, (part, shape) in enumerate(parts.items()):
            kind = target_dtype(path, replace(entry, shape=shape), dtype)
            plan.append(FamilyTensor(part, kind, shape, (entry,), number))
        expert = _EXPERT.fullmatch(name)
        if parts or (expert and expert[1] != "0"):
            continue
        stored = gguf_name(name, family)
        if stored is None:
            raise LifecycleError(path, name, "llama.cpp has no place for this tensor", advice=ADVICE)
        order = order_of(name, architecture)
        sources = _experts(source, stored, entry) if expert else (entry,)
        shape = (len(sources), *entry.shape) if expert else shape_of(entry.shape, order)
        kind = "F32" if is_plain(stored) else target_dtype(path, replace(entry, shape=shape), dtype)
        plan.append(FamilyTensor(stored, kind, shape, sources, order=order))
    return plan


def is_plain(stored: str) -> bool:
    """Whether a GGUF tensor is F32 in every file."""
    return any(f"{module}." in stored for module in PLAIN_TENSORS)


def _table(source: Source) -> str:
    """The name table of a source: Falcon's larger models have two norms side by side."""
    family = source.config.architecture
    two = family == "falcon" and any(".ln_attn." in name for name in source.weights.entries)
    return "falcon_two_norms" if two else family


def _split(source: Source) -> int:
    latent = source.config.latent
    return latent.plain if latent else source.config.head_dim


def _parts(source: Source, name: str, entry: TensorEntry) -> dict[str, tuple[int, ...]]:
    config = source.config
    try:
        return part_shapes(
            name, config.architecture, entry.shape, config.num_heads, config.num_kv_heads, _split(source)
        )
    except ValueError as problem:
        raise LifecycleError(source.weights.path, name, str(problem), advice="fetch config.json again") from None


def _experts(source: Source, stored: str, first: TensorEntry) -> tuple[TensorEntry, ...]:
    """The same matrix of all experts of a layer, in their order."""
    found = []
    for name in expert_names(stored, source.config.architecture, source.config.num_experts):
        entry = source.weights.entries.get(name)
        if entry is None or (entry.shape, entry.dtype) != (first.shape, first.dtype):
            what = "is missing" if entry is None else f"is not like the first expert: {entry.dtype} {list(entry.shape)}"
            raise LifecycleError(source.weights.path, name, what, advice="fetch the model again")
        found.append(entry)
    return tuple(found)
