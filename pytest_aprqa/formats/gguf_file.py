"""GGUF v2 and v3, little endian: our own bounded reader, with split files joined. Shapes come out row-major.

Own code because the released reader hangs on hostile counts; the rules are those of ggml's `gguf.cpp`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from pytest_aprqa.formats.blocks import BLOCKS, tensor_nbytes
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_metadata import Cursor, check_vocabulary, read_alignment, read_metadata
from pytest_aprqa.formats.gguf_types import REMOVED_TENSOR_TYPES, TENSOR_TYPES
from pytest_aprqa.formats.tensor_checks import check_tensor_name, checked_count
from pytest_aprqa.formats.tensor_file import MappedFile, TensorEntry, TensorFile

MAX_DIMENSIONS: Final = 4
MAX_NAME_BYTES: Final = 63
_SMALLEST_PAIR: Final = 8 + 1 + 4 + 1
_SMALLEST_TENSOR: Final = 8 + 1 + 4 + 8 + 4 + 8
_CUT: Final = "the file is cut short: download it again"
_SPLIT_NAME: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


class GgufFile(TensorFile):
    """An open GGUF file, or a split set opened by any of its files. `metadata`: key -> value (arrays are lists).

    `value_types`: key -> "uint32", "string", "array[string]", ... as `write_gguf` takes them. `version`, `alignment` in
    bytes. With strict=False odd but readable layouts (gaps, trailing bytes) become warnings. FormatError otherwise.
    """

    format = "gguf"
    version: int
    alignment: int
    value_types: dict[str, str]

    def __init__(self, path: str | os.PathLike[str], *, strict: bool = True) -> None:
        super().__init__(path, strict=strict)
        try:
            self.metadata, self.value_types, self.entries = self._open_part(self.path)
            if self.metadata.get("split.count", 1) != 1:
                self._begin_with_the_first()
                self._open_split()
        except BaseException:
            self.close()
            raise

    def typed_metadata(self) -> list[tuple[str, Any, str]]:
        """The metadata as (key, value, type) rows, in file order: what `write_gguf` takes."""
        return [(key, value, self.value_types[key]) for key, value in self.metadata.items()]

    def _open_part(self, path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, TensorEntry]]:
        mapped = MappedFile(path)
        self._maps.append(mapped)
        self.files.append(path)
        cursor = Cursor(path, mapped.data)
        self.version = _read_version(cursor)
        tensors = cursor.count("Q", "tensor count", _SMALLEST_TENSOR, 2**31 - 1)
        pairs = cursor.count("Q", "metadata count", _SMALLEST_PAIR, 2**31 - 1)
        values, types = read_metadata(cursor, pairs)
        self.alignment = read_alignment(path, values, types)
        check_vocabulary(path, values, types)
        entries = _read_tensors(cursor, tensors)
        start = -(-cursor.position // self.alignment) * self.alignment
        placed = self._place(path, entries, start, mapped.size)
        for name in placed:
            if name in self._owners:
                raise FormatError(path, f"tensor {name!r}", "is in two files of the split set")
            self._owners[name] = len(self._maps) - 1
        return values, types, placed

    def _place(self, path: Path, entries: list[TensorEntry], start: int, size: int) -> dict[str, TensorEntry]:
        """Check the offsets (contiguous up to alignment, inside the file) and make them absolute."""
        placed: dict[str, TensorEntry] = {}
        expected = end = 0
        for entry in entries:
            where = f"tensor {entry.name!r}, offset"
            if entry.offset % self.alignment:
                error = FormatError(path, where, "is not aligned", found=entry.offset, limit=self.alignment)
                self._soften(error)
            if entry.offset < end:
                raise FormatError(path, where, "overlaps the tensor before it", found=entry.offset, limit=end)
            if entry.offset != expected:
                self._soften(FormatError(path, where, "leaves a gap before it", found=entry.offset, limit=expected))
            end = entry.offset + entry.nbytes
            expected = -(-end // self.alignment) * self.alignment
            if start + end > size:
                where = f"tensor {entry.name!r}"
                problem = "data runs past the end of the file"
                raise FormatError(path, where, problem, found=start + end, limit=size, advice=_CUT)
            placed[entry.name] = TensorEntry(entry.name, entry.dtype, entry.shape, start + entry.offset, entry.nbytes)
        if size > start + expected:
            problem = "has bytes after the last tensor"
            error = FormatError(path, f"offset {start + expected}", problem, found=size, limit=start + expected)
            self._soften(error)
        return placed

    def _begin_with_the_first(self) -> None:
        """Where a later file of a set was named, take the first instead: it holds the model's metadata."""
        match = _SPLIT_NAME.fullmatch(self.path.name)
        if not match or int(match["number"]) < 2 or self.metadata.get("split.no") != int(match["number"]) - 1:
            return
        first = self.path.with_name(f"{match['stem']}-00001-of-{match['count']}.gguf")
        if not first.is_file():
            raise FormatError(self.path, "split.no", "the first file of the set is missing", found=first.name)
        self.close()
        self.path, self.files, self._maps, self._owners, self.warnings = first, [], [], {}, []
        self.metadata, self.value_types, self.entries = self._open_part(first)

    def _open_split(self) -> None:
        """Open the other files of a split set and join their tensors; the first file holds the model's metadata."""
        count, number = self.metadata["split.count"], self.metadata.get("split.no")
        match = _SPLIT_NAME.fullmatch(self.path.name)
        if not _is_int(count) or not 1 <= count <= 99_999 or not match or int(match["count"]) != count:
            advice = "files of a set are named NAME-00001-of-0000N.gguf"
            raise FormatError(self.path, "split.count", "contradicts the file name", found=count, advice=advice)
        if number != 0 or int(match["number"]) != 1:
            first = f"{match['stem']}-00001-of-{count:05}.gguf"
            raise FormatError(
                self.path, "split.no", "is not the first file of its set", found=number, advice=f"open {first}"
            )
        entries = dict(self.entries)
        for index in range(1, count):
            part = self.path.with_name(f"{match['stem']}-{index + 1:05}-of-{count:05}.gguf")
            if not part.is_file():
                raise FormatError(
                    self.path, "split.count", "a file of the set is missing", found=part.name, limit=count
                )
            values, _, more = self._open_part(part)
            if values.get("split.no") != index or values.get("split.count") != count:
                found = f"{values.get('split.no')} of {values.get('split.count')}"
                raise FormatError(
                    part, "split.no", "contradicts its place in the set", found=found, limit=f"{index} of {count}"
                )
            entries |= more
        declared = self.metadata.get("split.tensors.count", len(entries))
        if declared != len(entries):
            problem = "the files together hold another number of tensors"
            raise FormatError(self.path, "split.tensors.count", problem, found=len(entries), limit=declared)
        self.entries = entries


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_version(cursor: Cursor) -> int:
    cursor.need(24, "header")
    magic = bytes(cursor.data[:4])
    if magic != b"GGUF":
        raise FormatError(cursor.path, "offset 0, magic", "is not a GGUF file", found=magic, limit="GGUF")
    cursor.position = 4
    version = int(cursor.number("I", "version"))
    if version and not version & 0xFFFF:
        problem, advice = "the file is big endian", "use the little-endian file of the model"
        raise FormatError(cursor.path, "offset 4, version", problem, found=hex(version), advice=advice)
    if version not in (2, 3):
        advice = "convert the model again with a current converter"
        raise FormatError(
            cursor.path, "offset 4, version", "unsupported version", found=version, limit="2 or 3", advice=advice
        )
    return version


def _read_tensors(cursor: Cursor, count: int) -> list[TensorEntry]:
    """The tensor table; offsets are still relative to the data section."""
    entries: list[TensorEntry] = []
    names: set[str] = set()
    for index in range(count):
        entry = _read_tensor(cursor, index)
        if entry.name in names:
            raise FormatError(cursor.path, f"tensor {index}", "duplicate tensor name", found=entry.name)
        names.add(entry.name)
        entries.append(entry)
    return entries


def _read_tensor(cursor: Cursor, index: int) -> TensorEntry:
    path, start = cursor.path, cursor.position
    name = cursor.text(f"name of tensor {index}")
    check_tensor_name(path, f"offset {start}, name of tensor {index}", name, MAX_NAME_BYTES)
    where = f"offset {cursor.position}, tensor {name!r}"
    dimensions = int(cursor.number("I", f"dimensions of {name!r}"))
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise FormatError(path, where, "bad number of dimensions", found=dimensions, limit=f"1..{MAX_DIMENSIONS}")
    sizes = [int(cursor.number("Q", f"size {axis} of {name!r}")) for axis in range(dimensions)]
    if 0 in sizes:
        raise FormatError(path, where, "a dimension is zero", found=sizes)
    checked_count(path, where, sizes)
    kind = int(cursor.number("I", f"type of {name!r}"))
    if kind not in TENSOR_TYPES:
        problem = (
            f"type {REMOVED_TENSOR_TYPES[kind]} was removed from ggml"
            if kind in REMOVED_TENSOR_TYPES
            else "unknown type"
        )
        raise FormatError(
            path, where, problem, found=kind, limit=f"0..{max(TENSOR_TYPES)}", advice="convert the model again"
        )
    dtype = TENSOR_TYPES[kind]
    block = BLOCKS[dtype][0]
    if sizes[0] % block:
        raise FormatError(
            path, where, f"rows of {dtype} must be whole blocks", found=sizes[0], limit=f"multiple of {block}"
        )
    shape = tuple(reversed(sizes))
    offset = int(cursor.number("Q", f"offset of {name!r}"))
    return TensorEntry(name, dtype, shape, offset, tensor_nbytes(dtype, shape))
