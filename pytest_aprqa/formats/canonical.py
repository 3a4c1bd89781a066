"""One view for all formats: Hugging Face names, row-major shapes, q/k rows in Hugging Face order.

Built from the file's own names; it renames, un-permutes, and never guesses: two names for one tensor are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.names import hf_name
from pytest_aprqa.formats.permutation import PERMUTED_ARCHITECTURES, unpermute_rows
from pytest_aprqa.formats.tensor_file import TensorEntry, TensorFile

_ROTATED: Final = re.compile(r"model\.layers\.\d+\.self_attn\.([qk])_proj\.(?:weight|bias)")


class CanonicalTensors:
    """The tensors of FILE under Hugging Face names. Names without a mapping keep their own name.

    Rows of q and k are un-permuted only for GGUF files of PERMUTED_ARCHITECTURES (converters permute there). In APR
    files rows stay as stored, whatever the names: `rope_type` in the metadata says how they rotate. A head stored
    without bytes (tied) is left out of `names`; `tied_head` is then True. FormatError: two tensors, one canonical name.
    """

    def __init__(self, file: TensorFile, architecture: str, num_heads: int, num_kv_heads: int) -> None:
        self.file = file
        self.architecture = architecture
        self._heads = {"q": num_heads, "k": num_kv_heads}
        self._permuted = file.format == "gguf" and architecture in PERMUTED_ARCHITECTURES
        self._sources: dict[str, str] = {}
        self.tied_head = False
        for own, entry in file.entries.items():
            name = hf_name(own, architecture) or own
            if name in self._sources:
                problem = "has the same canonical name as another tensor"
                found = f"{self._sources[name]} and {own}"
                raise FormatError(file.path, f"tensor {name!r}", problem, found=found, advice="keep one of them")
            if name == "lm_head.weight" and entry.nbytes == 0:
                self.tied_head = True
                continue
            self._sources[name] = own

    def names(self) -> list[str]:
        """Hugging Face names in file order."""
        return list(self._sources)

    def source_name(self, name: str) -> str:
        """The file's own name of canonical tensor NAME; FormatError when there is none."""
        if name not in self._sources:
            raise FormatError(self.file.path, f"tensor {name!r}", "is not in the file")
        return self._sources[name]

    def entry(self, name: str) -> TensorEntry:
        """The stored entry under its canonical name."""
        return replace(self.file.entries[self.source_name(name)], name=name)

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor NAME as float32 of its shape, rows in Hugging Face order. FormatError: unknown or undecodable."""
        values = self.file.read(self.source_name(name))
        heads = self._heads_of(name)
        if heads is None:
            return values
        try:
            reordered: NDArray[np.float32] = unpermute_rows(values, heads)
        except ValueError as problem:
            raise FormatError(
                self.file.path, f"tensor {name!r}", str(problem), advice="check the head counts"
            ) from None
        return reordered

    def chunks(self, name: str, elements: int = 1 << 20) -> Iterator[NDArray[np.float32]]:
        """Tensor NAME as flat float32 pieces in row-major order; only permuted q/k tensors are decoded whole."""
        if self._heads_of(name) is None:
            return self.file.chunks(self.source_name(name), elements)
        flat = self.read(name).reshape(-1)
        return (flat[start : start + elements] for start in range(0, flat.size, elements))

    def stored(self, name: str) -> NDArray[np.uint8] | None:
        """Stored bytes of tensor NAME, a view of the file; None where its rows stand in another order there."""
        return None if self._heads_of(name) is not None else self.file.raw(self.source_name(name))

    def _heads_of(self, name: str) -> int | None:
        match = _ROTATED.fullmatch(name) if self._permuted else None
        return self._heads[match[1]] if match else None
