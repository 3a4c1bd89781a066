"""One view for all formats: Hugging Face names, row-major shapes, q/k rows in Hugging Face order.

Built from the file's own names; it renames, un-permutes, and never guesses: two names for one tensor are an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.joined_tensors import joined_names, joined_shape, joined_values
from pytest_aprqa.formats.names import expert_names, hf_name
from pytest_aprqa.formats.stored_order import Order, from_stored, order_of, shape_of
from pytest_aprqa.formats.tensor_file import TensorEntry, TensorFile

# Declarations that GGUF stores as tensors, no weights of the model: divisors of Llama 3 and of LongRoPE.
ROTARY_DIVISORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
LARGEST_EXPERTS = 1024  # of one layer; a tensor that stacks more keeps its own name


class CanonicalTensors:
    """The tensors of FILE under Hugging Face names. Names without a mapping keep their own name.

    Values of GGUF files are brought back to what Hugging Face has (stored_order); stacked experts are told one by one,
    and what is stored in parts is one tensor again (joined_tensors).
    In APR files rows stay as stored, whatever the names: `rope_type` in the metadata says how they rotate. A head
    stored without bytes (tied) is left out of `names`; `tied_head` is then True. FormatError: two tensors, one name.
    """

    def __init__(self, file: TensorFile, architecture: str, num_heads: int, num_kv_heads: int) -> None:
        self.file = file
        two_norms = architecture == "falcon" and any(".attn_norm_2." in name for name in file.entries)
        self.architecture = architecture
        self._table = "falcon_two_norms" if two_norms else architecture
        self._heads = (num_heads, num_kv_heads)
        self._sources: dict[str, str] = {}
        self._experts: dict[str, int] = {}
        self._joined = joined_names(file.entries.keys(), architecture) if file.format == "gguf" else {}
        self.tied_head = False
        firsts = {parts[0]: name for name, parts in self._joined.items()}
        others = {part for parts in self._joined.values() for part in parts[1:]}
        for own, entry in file.entries.items():
            if (file.format == "gguf" and own in ROTARY_DIVISORS) or own in others:
                continue
            if own in firsts:
                self._add(firsts[own], own, entry)
                continue
            stacked = self._stacked(own, entry)
            self._experts |= {name: number for number, name in enumerate(stacked)}
            for name in stacked or [hf_name(own, self._table) or own]:
                self._add(name, own, entry)

    def _add(self, name: str, own: str, entry: TensorEntry) -> None:
        if name in self._sources:
            problem = "has the same canonical name as another tensor"
            found = f"{self._sources[name]} and {own}"
            raise FormatError(self.file.path, f"tensor {name!r}", problem, found=found, advice="keep one of them")
        if name == "lm_head.weight" and entry.nbytes == 0:
            self.tied_head = True
        else:
            self._sources[name] = own

    def _stacked(self, own: str, entry: TensorEntry) -> list[str]:
        whole = len(entry.shape) == 3 and 1 <= entry.shape[0] <= LARGEST_EXPERTS and not entry.nbytes % entry.shape[0]
        return expert_names(own, self._table, entry.shape[0]) if whole else []

    def also_named(self, name: str, tensor: str) -> None:
        """Let NAME be one more name of the plain tensor TENSOR. FormatError: there is none."""
        self._sources[name] = self.source_name(tensor)

    def names(self) -> list[str]:
        """Hugging Face names in file order."""
        return list(self._sources)

    def source_name(self, name: str) -> str:
        """The file's own name of canonical tensor NAME; FormatError when there is none."""
        if name not in self._sources:
            raise FormatError(self.file.path, f"tensor {name!r}", "is not in the file")
        return self._sources[name]

    def source_names(self, name: str) -> tuple[str, ...]:
        """The file's own names of all parts of canonical tensor NAME, usually one. FormatError as `source_name`."""
        return self._joined.get(name) or (self.source_name(name),)

    def entry(self, name: str) -> TensorEntry:
        """The stored entry under its canonical name and the shape of its values; of a stacked expert, its own part.

        Complex numbers count as two values: a last axis of 2 for the real and the imaginary part. Of what is stored in
        parts, the type and the offset are those of the first one.
        """
        entry = self.file.entries[self.source_name(name)]
        if name in self._joined:
            parts = [self.file.entries[part] for part in self._joined[name]]
            shape, size = joined_shape([part.shape for part in parts]), sum(part.nbytes for part in parts)
            return replace(entry, name=name, shape=shape, nbytes=size)
        if entry.dtype == "C64":
            return replace(entry, name=name, shape=(*entry.shape, 2))
        if name in self._experts:
            size = entry.nbytes // entry.shape[0]
            at = entry.offset + size * self._experts[name]
            return replace(entry, name=name, shape=entry.shape[1:], offset=at, nbytes=size)
        return replace(entry, name=name, shape=shape_of(entry.shape, self._order_of(name)))

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor NAME as float32 of its shape, rows in Hugging Face order. FormatError: unknown or undecodable."""
        if name in self._experts and (raw := self._part(name)) is not None:
            entry = self.entry(name)
            return codecs.decode(entry.dtype, raw, entry.shape)
        values = [self.file.read(own) for own in self.source_names(name)]
        if name in self._experts:
            expert: NDArray[np.float32] = values[0][self._experts[name]]
            return expert
        order = self._order_of(name)
        try:
            if name in self._joined:
                return joined_values(values, *self._heads)
            ordered: NDArray[np.float32] = from_stored(values[0], order, *self._heads)
        except ValueError as problem:
            raise FormatError(
                self.file.path, f"tensor {name!r}", str(problem), advice="check the head counts"
            ) from None
        return ordered

    def chunks(self, name: str, elements: int = 1 << 20) -> Iterator[NDArray[np.float32]]:
        """Tensor NAME as flat float32 pieces in row-major order; only tensors in another order are decoded whole."""
        if self._as_stored(name):
            return self.file.chunks(self.source_name(name), elements)
        if name in self._experts and (raw := self._part(name)) is not None:
            return self._pieces_of_part(name, raw, elements)
        flat = self.read(name).reshape(-1)
        return (flat[start : start + elements] for start in range(0, flat.size, elements))

    def stored(self, name: str) -> NDArray[np.uint8] | None:
        """Stored bytes of tensor NAME, a view of the file; None where its values stand in another order there."""
        return self.file.raw(self.source_name(name)) if self._as_stored(name) else self._part(name)

    def count_read(self, name: str, size: int) -> None:
        """Tell that SIZE bytes of `stored` were looked at: resident pages of the file stay bounded."""
        self.file.count_read(self.source_name(name), size)

    def _part(self, name: str) -> NDArray[np.uint8] | None:
        """Stored bytes of an expert, where they are whole blocks. FormatError: the stack cannot be decoded."""
        if name not in self._experts:
            return None
        own = self.source_name(name)
        self.file.chunks(own, 1)  # raises what reading would raise
        entry = self.file.entries[own]
        width = BLOCKS.get(entry.dtype, (0, 0))[0]
        if not width or entry.shape[-1] % width:
            return None
        size = entry.nbytes // entry.shape[0]
        return self.file.raw(own)[size * self._experts[name] : size * (self._experts[name] + 1)]

    def _pieces_of_part(self, name: str, raw: NDArray[np.uint8], elements: int) -> Iterator[NDArray[np.float32]]:
        entry = self.entry(name)
        for piece in codecs.decode_pieces(entry.dtype, raw, entry.shape, elements):
            yield piece
            self.count_read(name, raw.size * piece.size // math.prod(entry.shape))

    def _as_stored(self, name: str) -> bool:
        return name not in self._experts and name not in self._joined and self._order_of(name) is None

    def _order_of(self, name: str) -> Order | None:
        return order_of(name, self.architecture) if self.file.format == "gguf" else None
