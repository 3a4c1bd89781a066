"""Write APR v2, byte for byte as the reference writer: sorted index, 64-byte alignment, both checksums, row-major flag.

Only what every reader of the format understands is written; anything else is refused with a reason.
"""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_aprqa.formats import apr_layout as layout
from pytest_aprqa.formats.apr_metadata import canonical_metadata_json
from pytest_aprqa.formats.atomic_file import replaced_atomically
from pytest_aprqa.formats.blocks import element_count
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.tensor_source import TensorSource, expected_nbytes, payload_of

Tensor = tuple[str, str, Sequence[int], TensorSource]
#: types whose codes (3, 6, 7) the reference engine takes for Q4_1, Q5_0 and Q5_1
DISPUTED: Final = frozenset({"F64", "I8", "U8"})
WRITABLE: Final = frozenset({"F32", "F16", "BF16", "F64", "I32", "I64", "I8", "U8", "Q4_K", "Q6_K", "APR_Q4", "APR_Q8"})


def write_apr(
    path: str | os.PathLike[str], metadata: Mapping[str, Any], tensors: Iterable[Tensor], *, disputed: bool = False
) -> None:
    """Write PATH atomically from (name, dtype, row-major shape, bytes | array | function that makes them).

    Tensors may come in any order; data is stored sorted by name. Flags, checksums, `total_size` (stored bytes) and
    `param_count` (elements) are filled in unless METADATA gives the last two. FormatError: what a reader would refuse,
    and the DISPUTED types unless asked for.
    """
    target = Path(path)
    pieces = _pieces(target, metadata, tensors, disputed)
    with replaced_atomically(target) as partial, partial.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)


def serialize_apr(metadata: Mapping[str, Any], tensors: Iterable[Tensor], *, disputed: bool = False) -> bytes:
    """The bytes that `write_apr` would write."""
    return b"".join(_pieces(Path("<memory>"), metadata, tensors, disputed))


def _pieces(
    target: Path, metadata: Mapping[str, Any], tensors: Iterable[Tensor], disputed: bool
) -> Iterator[bytes | memoryview]:
    """The file piece by piece; everything is checked, and the first piece made, before any tensor is."""
    rows = sorted(tensors, key=lambda row: row[0].encode("utf-8", "surrogatepass"))
    sizes = [_checked_size(target, *row[:3], disputed) for row in rows]
    for before, after in itertools.pairwise(rows):
        if before[0] == after[0]:
            raise FormatError(target, f"tensor {after[0]!r}", "is given twice")
    totals = {"total_size": sum(sizes), "param_count": sum(element_count(row[2]) for row in rows)}
    text = canonical_metadata_json(target, {**totals, **metadata})
    if len(text) > layout.MAX_METADATA_BYTES:
        raise FormatError(target, "metadata", "is too long", found=len(text), limit=layout.MAX_METADATA_BYTES)
    index = _index(rows, sizes)
    index_offset = layout.HEADER_BYTES + layout.align64(len(text))
    data_offset = index_offset + layout.align64(len(index))
    header = layout.pack_header(_flags(metadata, rows), len(rows), len(text), index_offset, data_offset)
    return _emit(target, header + _padded(text) + _padded(index), rows, sizes)


def _emit(target: Path, start: bytes, rows: list[Tensor], sizes: list[int]) -> Iterator[bytes | memoryview]:
    yield start
    checksum = zlib.crc32(start)
    for (name, _, _, source), size in zip(rows, sizes, strict=True):
        payload = payload_of(target, name, source, size)
        padding = bytes(layout.align64(size) - size)
        checksum = zlib.crc32(padding, zlib.crc32(payload, checksum))
        yield payload
        yield padding
    yield struct.pack("<I", checksum)


def _padded(data: bytes) -> bytes:
    return data + bytes(layout.align64(len(data)) - len(data))


def _index(rows: list[Tensor], sizes: list[int]) -> bytes:
    index, offset = bytearray(), 0
    for (name, dtype, shape, _), size in zip(rows, sizes, strict=True):
        encoded = name.encode("utf-8")
        index += struct.pack("<H", len(encoded)) + encoded
        index += struct.pack(f"<BB{len(shape)}QQQ", layout.CODES[dtype], len(shape), *shape, offset, size)
        offset += layout.align64(size)
    return bytes(index)


def _flags(metadata: Mapping[str, Any], rows: list[Tensor]) -> int:
    flags = layout.LAYOUT_ROW_MAJOR
    if any(layout.CODES[row[1]] in layout.QUANTISED_CODES for row in rows):
        flags |= layout.QUANTIZED
    vocabulary = metadata.get("tokenizer.vocabulary")
    if isinstance(vocabulary, (list, tuple)) and vocabulary:
        flags |= layout.HAS_VOCAB
    return flags


def _checked_size(target: Path, name: str, dtype: str, shape: Sequence[int], disputed: bool) -> int:
    where = f"tensor {name!r}"
    if dtype not in WRITABLE:
        advice = "decode it, then encode as F32, F16 or BF16"
        raise FormatError(target, where, "type cannot be stored in APR", found=dtype, advice=advice)
    if dtype in DISPUTED and not disputed:
        code = layout.CODES[dtype]
        problem = f"readers disagree on code {code}: it may be taken for {layout.OTHER_DTYPES[code]}"
        raise FormatError(target, where, problem, found=dtype, advice="store it as F32, F16, BF16, I32 or I64")
    if len(shape) > layout.MAX_DIMENSIONS:
        raise FormatError(target, where, "too many dimensions", found=len(shape), limit=layout.MAX_DIMENSIONS)
    size = expected_nbytes(target, name, dtype, shape, layout.MAX_NAME_BYTES)
    if dtype in ("Q4_K", "Q6_K") and len(shape) == 2 and shape[1] % 256:
        problem = f"rows of {dtype} must be whole blocks: readers disagree on padded rows"
        raise FormatError(target, where, problem, found=shape[1], limit="multiple of 256", advice="store it as F32")
    return size
