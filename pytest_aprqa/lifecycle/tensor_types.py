"""Which element type each tensor gets in a derived file, and its bytes in that type."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.blocks import BLOCKS, element_count
from pytest_aprqa.formats.tensor_file import TensorEntry, TensorFile
from pytest_aprqa.lifecycle.errors import LifecycleError

# Largest finite IEEE binary16 value that rounding keeps finite (65519.99... rounds to 65504).
F16_LARGEST = 65519.0
NATIVE = ("F32", "F16", "BF16")
_BUFFER = re.compile(
    r"(?:^|\.)(?:position_ids|token_type_ids|num_batches_tracked|masked_bias|attn\.bias|attention\.bias)$"
)
_INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
# Options of derive(); the GGUF block types but q4_k and q6_k have no exact APR code (spec apr-format 5).
# The native q8 and q4 types of APR, on the other side, exist for APR only.
DTYPES = {
    "apr": ("native", "f32", "f16", "bf16", "q8", "q4", "q4_k", "q6_k"),
    "gguf": ("native", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"),
}
# What stands in for a 256-element type where a row is not whole blocks, as in llama.cpp's quantiser; then F16.
FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
# Elements decoded and encoded at a time: the arrays stay in the processor's second cache.
_PIECE = 1 << 16


def check_dtype_option(folder: Path, format: str, dtype: str) -> None:  # noqa: A002
    """Raise LifecycleError unless `dtype` is one that `format` can be written in."""
    allowed = DTYPES[format]
    if dtype not in allowed:
        raise LifecycleError(folder, "dtype", f"{format} cannot be written so", found=dtype, limit=" | ".join(allowed))


def is_buffer(entry: TensorEntry) -> bool:
    """Whether `entry` is no weight: positions and masks, which conversions leave out.

    Other integers are packed weights (GPTQ, AWQ, bitsandbytes): `target_dtype` refuses them by name.
    """
    return entry.dtype in _INTEGERS and _BUFFER.search(entry.name) is not None


def target_dtype(path: Path, entry: TensorEntry, dtype: str) -> str:
    """Type of `entry` in the derived file: vectors (norms, biases) F32, matrices as `dtype` asks.

    F32 vectors are what every engine reads (spec apr-format 7). Rows that are not whole blocks get the type that
    llama.cpp's quantiser falls back to: FALLBACKS where they are whole blocks of 32, else F16. Such tensors are named
    in the file's metadata and by `aprqa derive`. Raises LifecycleError for a source type that has no plain value.
    """
    if entry.dtype not in (*NATIVE, "F64"):
        raise LifecycleError(
            path, entry.name, "source type cannot be converted", found=entry.dtype, limit="F32, F16, BF16"
        )
    if len(entry.shape) < 2 or (dtype == "native" and entry.dtype == "F64"):
        return "F32"
    if dtype == "native":
        return entry.dtype
    wanted = dtype.upper()
    for kind in (wanted, FALLBACKS.get(wanted, wanted)):
        if entry.shape[-1] % BLOCKS[kind][0] == 0:
            return kind
    return "F16"


def encoded(file: TensorFile, entry: TensorEntry, dtype: str) -> NDArray[np.uint8]:
    """Bytes of `entry` in `dtype` as uint8 [rows, bytes per row] (1 row for vectors); a view when nothing changes.

    Memory: the result, and a few arrays of one piece. Raises LifecycleError for values that `dtype` cannot hold.
    """
    rows = entry.shape[0] if len(entry.shape) > 1 else 1
    raw = file.raw(entry.name).reshape(rows, -1)
    if dtype == entry.dtype:
        return raw
    elements = element_count(entry.shape)
    columns = elements // rows if rows else 0
    result = np.empty((rows, codecs.tensor_nbytes(dtype, (columns,))), np.uint8)
    step = max(_PIECE // max(columns, 1), 1)
    for start in range(0, rows, step):
        part = raw[start : start + step]
        values = codecs.decode(entry.dtype, part.reshape(-1), (part.shape[0], columns))
        if dtype == "F16":
            _refuse_overflow(file, entry, values)
        result[start : start + step] = _stored(file, entry, dtype, values)
    return result


def encoded_values(file: TensorFile, entry: TensorEntry, dtype: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bytes in `dtype` of VALUES [rows, columns], which were made from `entry`; errors as `encoded`."""
    if dtype == "F16":
        _refuse_overflow(file, entry, values)
    return _stored(file, entry, dtype, values)


def _stored(file: TensorFile, entry: TensorEntry, dtype: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(codecs.encode(dtype, values), dtype=np.uint8).reshape(values.shape[0], -1)
    except ValueError as problem:
        raise LifecycleError(
            file.path, entry.name, f"cannot be stored as {dtype}: {problem}", advice="use f32, f16 or bf16"
        ) from problem


def _refuse_overflow(file: TensorFile, entry: TensorEntry, values: NDArray[np.float32]) -> None:
    """A finite value that F16 can only hold as infinity would change the model: refuse it by name."""
    if not values.size or (values.max() <= F16_LARGEST and values.min() >= -F16_LARGEST):
        return
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest > F16_LARGEST:
        raise LifecycleError(
            file.path, entry.name, "does not fit in f16", found=largest, limit=F16_LARGEST, advice="use bf16 or f32"
        )
