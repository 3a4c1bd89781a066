"""Write GGUF v3 through the `gguf` package: explicit metadata types, tensors as raw bytes of any ggml type.

The package does the byte layout; this file checks what it does not (names, sizes, row widths) and renames atomically.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_aprqa.formats.atomic_file import replaced_atomically
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.errors import FormatError, LocatedError
from pytest_aprqa.formats.gguf_file import MAX_DIMENSIONS, MAX_NAME_BYTES
from pytest_aprqa.formats.gguf_types import SCALAR_VALUES, TENSOR_TYPE_IDS, VALUE_TYPE_IDS, VALUE_TYPE_NAMES
from pytest_aprqa.formats.tensor_source import TensorSource, expected_nbytes, payload_of

Tensor = tuple[str, str, Sequence[int], TensorSource]


def write_gguf(
    path: str | os.PathLike[str],
    architecture: str,
    metadata: Iterable[tuple[str, Any, str]],
    tensors: Iterable[Tensor],
) -> Path:
    """Write PATH atomically and return it.

    METADATA: (key, value, type), type one of `gguf_types.VALUE_TYPE_NAMES` ("uint32", "string", "array[string]", ...);
    `general.architecture` is always ARCHITECTURE and comes first; empty arrays are left out (GGUF writers cannot store
    them). TENSORS: (name, dtype, row-major shape, bytes | array | function that makes them), kept in order.
    FormatError: bad name, type, shape, value or number of bytes.
    """
    import gguf

    target = Path(path)
    rows = [(name, dtype, tuple(shape), source) for name, dtype, shape, source in tensors]
    sizes = [_checked_size(target, *row[:3]) for row in rows]
    with replaced_atomically(target) as partial:
        writer = gguf.GGUFWriter(partial, architecture)
        try:
            _add_metadata(writer, target, metadata)
            for (name, dtype, shape, _), size in zip(rows, sizes, strict=True):
                width, block = BLOCKS[dtype]
                byte_shape = (*shape[:-1], shape[-1] // width * block)
                kind = gguf.GGMLQuantizationType(TENSOR_TYPE_IDS[dtype])
                writer.add_tensor_info(name, byte_shape, np.dtype(np.uint8), size, kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for (name, _, _, source), size in zip(rows, sizes, strict=True):
                writer.write_tensor_data(np.frombuffer(payload_of(target, name, source, size), np.uint8))
        except (ValueError, TypeError) as problem:
            if isinstance(problem, LocatedError):
                raise
            raise FormatError(target, "GGUF writer", str(problem)) from problem
        finally:
            writer.close()
    return target


def _checked_size(target: Path, name: str, dtype: str, shape: tuple[int, ...]) -> int:
    where = f"tensor {name!r}"
    if dtype not in TENSOR_TYPE_IDS:
        raise FormatError(target, where, "type cannot be stored in GGUF", found=dtype, advice="decode it, then encode")
    if not 1 <= len(shape) <= MAX_DIMENSIONS or 0 in shape:
        raise FormatError(
            target, where, "bad shape for GGUF", found=list(shape), limit=f"1..{MAX_DIMENSIONS} sizes > 0"
        )
    width = BLOCKS[dtype][0]
    if shape[-1] % width:
        problem = f"rows of {dtype} must be whole blocks"
        raise FormatError(
            target, where, problem, found=shape[-1], limit=f"multiple of {width}", advice="store it as F32"
        )
    return expected_nbytes(target, name, dtype, shape, MAX_NAME_BYTES)


def _add_metadata(writer: Any, target: Path, metadata: Iterable[tuple[str, Any, str]]) -> None:
    import gguf

    seen = {"general.architecture"}
    for key, value, kind in metadata:
        if key == "general.architecture":
            continue
        if key in seen or not key:
            raise FormatError(target, f"metadata {key!r}", "key is empty or given twice")
        seen.add(key)
        if kind not in VALUE_TYPE_NAMES:
            limit = ", ".join(sorted(VALUE_TYPE_NAMES))
            raise FormatError(target, f"metadata {key!r}", "unknown value type", found=kind, limit=limit)
        if kind.startswith("array["):
            items = list(value)
            if items:
                element = gguf.GGUFValueType(VALUE_TYPE_IDS[kind[6:-1]])
                _check_packs(target, key, items, element)
                writer.add_key_value(key, items, gguf.GGUFValueType.ARRAY, sub_type=element)
        else:
            element = gguf.GGUFValueType(VALUE_TYPE_IDS[kind])
            _check_packs(target, key, [value], element)
            writer.add_key_value(key, value, element)
        if key == "general.alignment":
            writer.data_alignment = value


def _check_packs(target: Path, key: str, items: list[Any], element: Any) -> None:
    """FormatError when an item is not of the declared type: the package would fail half way through the file."""
    name = element.name.lower()
    for item in items:
        if name == "string":
            fits = isinstance(item, (str, bytes))
        elif name == "bool":
            fits = isinstance(item, (bool, np.bool_))
        else:
            try:
                struct.pack("<" + SCALAR_VALUES[int(element)][1], item)
                fits = True
            except (struct.error, OverflowError, TypeError):
                fits = False
        if not fits:
            raise FormatError(target, f"metadata {key!r}", f"value is not a {name}", found=item)
