"""Clean quantisation by every encoder at hand: this package's, llama.cpp's, and that with an importance matrix."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.codecs import ENCODABLE, QUANTISED, decode, encode
from pytest_aprqa.formats.gguf_types import TENSOR_TYPE_IDS

OURS, THEIRS, WEIGHTED = "ours", "llama.cpp", "llama.cpp, importance"
Quantiser = Callable[[str, Any], Any]


def quantisers() -> dict[str, Quantiser]:
    """Encoder -> (type, float32 matrix [rows, columns]) -> its bytes, None where it does not write the type."""
    found: dict[str, Quantiser] = {OURS: lambda dtype, values: encode(dtype, values) if dtype in ENCODABLE else None}
    try:
        folder = Path(importlib.import_module("llama_cpp").__file__ or "").parent / "lib"
    except ImportError:
        return found
    library = ctypes.CDLL(str(next(folder.glob("libggml-base*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    wide, pointer = [ctypes.c_int64] * 3, ctypes.c_void_p
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, *wide, pointer]

    def theirs(dtype: str, values: Any, importance: Any = None) -> Any:
        if dtype not in QUANTISED or dtype not in TENSOR_TYPE_IDS:
            return None
        width, size = BLOCKS[dtype]
        raw = np.empty(values.size // width * size, np.uint8)
        weights = None if importance is None else importance.ctypes.data
        kind = TENSOR_TYPE_IDS[dtype]
        library.ggml_quantize_chunk(kind, values.ctypes.data, raw.ctypes.data, 0, *values.shape, weights)
        return raw

    def weighted(dtype: str, values: Any) -> Any:
        # As an importance matrix is, mean squares of activations: 98 of 100 columns within two orders of magnitude.
        draw = np.random.default_rng(values.shape[1])
        return theirs(dtype, values, np.exp(draw.standard_normal(values.shape[1])).astype(np.float32))

    return found | {THEIRS: theirs, WEIGHTED: weighted}


def stored(quantiser: Quantiser, dtype: str, values: Any) -> Any:
    """Float32 values as a file in DTYPE gives them back; None where the encoder does not write the type."""
    whole = np.ascontiguousarray(values, np.float32)
    raw = quantiser(dtype, whole)
    return None if raw is None else decode(dtype, np.frombuffer(bytes(raw), np.uint8), whole.shape)


class OneTensor:
    """One float32 matrix that is read like a tensor of an artifact whose declared type is DTYPE."""

    def __init__(self, values: Any, dtype: str) -> None:
        self._values, self._dtype = values, dtype

    def entry(self, name: str) -> Any:
        """Shape and declared type, whatever the name."""
        return SimpleNamespace(shape=self._values.shape, dtype=self._dtype)

    def stored(self, name: str) -> None:
        """No bytes of blocks: the values are there."""

    def chunks(self, name: str, elements: int) -> Any:
        """Flat pieces of at most ELEMENTS values."""
        flat = self._values.reshape(-1)
        return (flat[at : at + elements] for at in range(0, flat.size, elements))
