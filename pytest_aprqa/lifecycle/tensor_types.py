"""Which element type each tensor gets in a derived file, and its bytes in that type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.tensor_file import TensorEntry, TensorFile
from pytest_aprqa.lifecycle.errors import LifecycleError

# Largest finite IEEE binary16 value that rounding keeps finite (65519.99... rounds to 65504).
F16_LARGEST = 65519.0
NATIVE = ("F32", "F16", "BF16")
_INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
# Options of derive(); q8_0 has no exact APR code (spec apr-format 5), so it exists for GGUF only.
# The native q8 and q4 types of APR, on the other side, exist for APR only.
DTYPES = {
    "apr": ("native", "f32", "f16", "bf16", "q8", "q4", "q4_k", "q6_k"),
    "gguf": ("native", "f32", "f16", "bf16", "q8_0"),
}


def check_dtype_option(folder: Path, format: str, dtype: str) -> None:  # noqa: A002
    """Raise LifecycleError unless `dtype` is one that `format` can be written in."""
    allowed = DTYPES[format]
    if dtype not in allowed:
        raise LifecycleError(folder, "dtype", f"{format} cannot be written so", found=dtype, limit=" | ".join(allowed))


def is_buffer(entry: TensorEntry) -> bool:
    """Integer and boolean tensors are buffers (position ids, masks), not weights; conversions leave them out."""
    return entry.dtype in _INTEGERS


def target_dtype(path: Path, entry: TensorEntry, dtype: str) -> str:
    """Type of `entry` in the derived file: vectors (norms, biases) F32, matrices as `dtype` asks.

    F32 vectors are what every engine reads (spec apr-format 7). Rows that do not fill 32-element blocks stay F16
    under q8_0, as llama.cpp's own converter does. Raises LifecycleError for a source type that has no plain value.
    """
    if entry.dtype not in (*NATIVE, "F64"):
        raise LifecycleError(
            path, entry.name, "source type cannot be converted", found=entry.dtype, limit="F32, F16, BF16"
        )
    if len(entry.shape) < 2 or (dtype == "native" and entry.dtype == "F64"):
        return "F32"
    if dtype == "native":
        return entry.dtype
    if dtype == "q8_0" and entry.shape[-1] % 32:
        return "F16"
    return dtype.upper()


def encoded(file: TensorFile, entry: TensorEntry, dtype: str) -> NDArray[np.uint8]:
    """Bytes of `entry` in `dtype` as uint8 [rows, bytes per row] (1 row for vectors); a view when nothing changes."""
    rows = entry.shape[0] if len(entry.shape) > 1 else 1
    if dtype == entry.dtype:
        return file.raw(entry.name).reshape(rows, -1)
    values = file.read(entry.name)
    if dtype == "F16":
        _refuse_overflow(file, entry, values)
    return np.frombuffer(codecs.encode(dtype, values), dtype=np.uint8).reshape(rows, -1)


def _refuse_overflow(file: TensorFile, entry: TensorEntry, values: NDArray[np.float32]) -> None:
    """A finite value that F16 can only hold as infinity would change the model: refuse it by name."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest > F16_LARGEST:
        raise LifecycleError(
            file.path, entry.name, "does not fit in f16", found=largest, limit=F16_LARGEST, advice="use bf16 or f32"
        )
