"""APR v2 reader. Strict refuses everything a careful writer cannot produce; lenient notes warnings instead.

Both checksums are always verified: a wrong footer refutes the file, a missing one is only a warning (old writers).
"""

from __future__ import annotations

import os
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import apr_layout as layout
from pytest_aprqa.formats.apr_metadata import alias_conflicts, canonical_keys, check_types
from pytest_aprqa.formats.blocks import tensor_nbytes
from pytest_aprqa.formats.checksum import crc32
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.json_text import parse_json_object
from pytest_aprqa.formats.tensor_checks import check_tensor_name, checked_count
from pytest_aprqa.formats.tensor_file import MappedFile, TensorEntry, TensorFile

_LEGACY: Final = (b"APRN", b"APR1", b"APR2")
#: from this size on (bytes) a checksum is remembered; writing so much takes longer than the clock of a file needs
_LARGE: Final = 64 * 2**20
_MOST_KNOWN: Final = 64
_KNOWN: dict[tuple[int, ...], int] = {}
_SMALLEST_ENTRY: Final = 2 + 1 + 2 + 16
_CUT: Final = "the file is cut short or damaged: download or convert it again"
#: a head that may be stored without bytes -> the embedding that it then stands for
_TIED: Final = {"lm_head.weight": "model.embed_tokens.weight", "output.weight": "token_embd.weight"}


class AprFile(TensorFile):
    """An open APR v2 file. `metadata`: the JSON object with aliases resolved; `metadata_bytes`: its text as stored.

    `header`: the parsed header. `tied_head`: name of a head stored without bytes, or None; its values are those of the
    embedding, its stored bytes (`raw`) none.
    FormatError: whatever breaks the format; strict=False reads what can be read and collects `warnings`.
    """

    format = "apr"
    header: layout.Header
    metadata_bytes: bytes
    tied_head: str | None = None
    _index_end: int

    def __init__(self, path: str | os.PathLike[str], *, strict: bool = True) -> None:
        super().__init__(path, strict=strict)
        mapped = MappedFile(self.path)
        self._maps, self.files = [mapped], [self.path]
        try:
            self._data, self._size = mapped.data, mapped.size
            self._read_header()
            self._read_metadata()
            entries, end = self._read_index()
            self._check_padding(entries)
            self._check_footer(end)
            self.entries = {entry.name: entry for entry in entries}
            self._owners = dict.fromkeys(self.entries, 0)
            self._check_overlap(entries)
        except BaseException:
            self.close()
            raise
        finally:
            del self._data

    def _refuse(
        self, where: str, problem: str, found: Any = None, limit: Any = None, advice: str | None = None
    ) -> None:
        self._soften(FormatError(self.path, where, problem, found=found, limit=limit, advice=advice))

    def _fail(
        self, where: str, problem: str, found: Any = None, limit: Any = None, advice: str | None = None
    ) -> FormatError:
        return FormatError(self.path, where, problem, found=found, limit=limit, advice=advice)

    def _read_header(self) -> None:
        head = bytes(self._data[: layout.HEADER_BYTES])
        if head[:4] in _LEGACY:  # version 1 has a header of 32 bytes
            raise self._fail("offset 0, magic", "is a legacy APR file", head[:4], "APR\\0", "import the model again")
        if self._size < layout.HEADER_BYTES:
            raise self._fail("header", "file is too small", self._size, layout.HEADER_BYTES, _CUT)
        if head[:4] != layout.MAGIC:
            raise self._fail("offset 0, magic", "is not an APR file", head[:4].hex(), layout.MAGIC.hex(), _CUT)
        header = self.header = layout.Header.parse(head)
        computed = layout.header_checksum(head)
        if header.checksum != computed:
            found, limit = f"{header.checksum:08x}", f"{computed:08x}"
            self._refuse("offset 40, header checksum", "does not match the header", found, limit, _CUT)
        if header.version != (2, 0):
            self._refuse("offset 4, version", "unsupported version", "{}.{}".format(*header.version), "2.0")
        if any(header.reserved):
            self._refuse("offset 44, reserved", "is not zero", header.reserved.hex())
        self._check_flags(header.flags)
        if header.metadata_offset != layout.HEADER_BYTES:
            self._refuse("offset 12, metadata_offset", "is not 64", header.metadata_offset, 64)
        ends = header.metadata_offset + header.metadata_size
        for where, value in (
            ("metadata end", ends),
            ("index offset", header.index_offset),
            ("data offset", header.data_offset),
        ):
            if value > self._size:
                raise self._fail(f"header, {where}", "lies past the end of the file", value, self._size, _CUT)
        if not ends <= header.index_offset <= header.data_offset:
            found = f"{ends}, {header.index_offset}, {header.data_offset}"
            raise self._fail("header, offsets", "sections overlap (metadata end, index, data)", found)
        for where, value in (("index offset", header.index_offset), ("data offset", header.data_offset)):
            if value % layout.ALIGNMENT:
                self._refuse(f"header, {where}", "is not aligned", value, "multiple of 64")

    def _check_flags(self, flags: int) -> None:
        where = "offset 6, flags"
        if flags & layout.LAYOUT_COLUMN_MAJOR:
            advice = "APR is row-major (LAYOUT-002): import the model again"
            raise self._fail(where, "file declares column-major layout", f"0x{flags:04x}", advice=advice)
        if flags & layout.ENCRYPTED:
            raise self._fail(where, "file is encrypted", f"0x{flags:04x}", advice="decrypt it first")
        if flags & (layout.LZ4_COMPRESSED | layout.ZSTD_COMPRESSED):
            raise self._fail(where, "file declares compression, which no writer produces", f"0x{flags:04x}")
        for bits, text in (
            (layout.SIGNED, "the signature is not verified: no reader implements it"),
            (layout.SHARDED, "this is one file of a sharded set; only its own tensors are read"),
            (layout.RESERVED_FLAGS, "reserved flag bits are set"),
        ):
            if flags & bits:
                self.warnings.append(f"{self.path}: {where}: {text} (found 0x{flags:04x})")

    def _read_metadata(self) -> None:
        header = self.header
        if header.metadata_size > layout.MAX_METADATA_BYTES:
            self._refuse("metadata", "is too long", header.metadata_size, layout.MAX_METADATA_BYTES)
        start = header.metadata_offset
        self.metadata_bytes = bytes(self._data[start : start + header.metadata_size])
        duplicates: list[str] | None = None if self.strict else []
        declared = parse_json_object(self.path, f"offset {start}, metadata", self.metadata_bytes, duplicates=duplicates)
        for key in duplicates or ():
            self.warnings.append(f"{self.path}: metadata: duplicate JSON key (found {key!r})")
        try:
            check_types(self.path, declared)
        except FormatError as problem:
            self._soften(problem)
        for line in alias_conflicts(declared):
            self._refuse("metadata", line, advice="keep the canonical key only")
        self.metadata = canonical_keys(declared)

    def _read_index(self) -> tuple[list[TensorEntry], int]:
        """The entries with absolute offsets, and the end of the last padded tensor."""
        header = self.header
        room = header.data_offset - header.index_offset
        if header.tensor_count > room // _SMALLEST_ENTRY:
            where, limit = "offset 8, tensor_count", room // _SMALLEST_ENTRY
            raise self._fail(where, "is larger than the index has room for", header.tensor_count, limit, _CUT)
        position, end = header.index_offset, header.data_offset
        entries: dict[str, TensorEntry] = {}
        last = b""
        for number in range(header.tensor_count):
            name, entry, position = self._read_entry(number, position)
            if number and name <= last:
                problem = "repeats a name" if name == last else "is not sorted by name"
                self._refuse(f"index entry {number}", problem, entry.name)
            last = max(name, last)
            if entry.name in entries:  # lenient: the first match counts, as in the reference engine
                self._refuse(f"index entry {number}", "repeats a name", entry.name)
                continue
            entries[entry.name] = entry
            end = max(end, entry.offset + layout.align64(entry.nbytes))
        self._index_end = position
        return list(entries.values()), end

    def _read_entry(self, number: int, position: int) -> tuple[bytes, TensorEntry, int]:
        where = f"offset {position}, index entry {number}"
        limit = self.header.data_offset
        (length,) = struct.unpack_from("<H", self._take(where, position, 2, limit))
        raw = bytes(self._take(where, position + 2, length, limit))
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._fail(where, "name is not valid UTF-8", raw) from None
        check_tensor_name(self.path, where, name, layout.MAX_NAME_BYTES)
        where = f"{where} {name!r}"
        position += 2 + length
        code, dimensions = self._take(where, position, 2, limit)
        if dimensions > layout.MAX_DIMENSIONS:
            raise self._fail(where, "too many dimensions", dimensions, layout.MAX_DIMENSIONS)
        fields = struct.unpack_from(f"<{dimensions + 2}Q", self._take(where, position + 2, 8 * dimensions + 16, limit))
        shape, (offset, size) = fields[:dimensions], fields[dimensions:]
        checked_count(self.path, where, shape)
        dtype = self._dtype(where, name, code, shape, size)
        if offset % layout.ALIGNMENT:
            self._refuse(where, "data offset is not aligned", offset, "multiple of 64")
        start = self.header.data_offset + offset
        if start + size > self._size:
            raise self._fail(where, "data runs past the end of the file", start + size, self._size, _CUT)
        if start + layout.align64(size) > self._size:
            self._refuse(where, "padding runs past the end of the file", start + layout.align64(size), self._size, _CUT)
        return raw, TensorEntry(name, dtype, shape, start, size), position + 2 + 8 * dimensions + 16

    def _take(self, where: str, position: int, size: int, limit: int) -> memoryview:
        if position + size > limit:
            raise self._fail(where, "index entry runs past the index", position + size, limit, _CUT)
        return self._data[position : position + size]

    def _dtype(self, where: str, name: str, code: int, shape: tuple[int, ...], size: int) -> str:
        """The type whose size fits; codes 8 and (lenient) others may mean a ggml type, which the size shows."""
        ours, other = layout.DTYPES.get(code), layout.OTHER_DTYPES.get(code)
        if ours is not None and size == tensor_nbytes(ours, shape):
            return ours
        if other is not None and size == tensor_nbytes(other, shape) and (code == 8 or not self.strict):
            self.warnings.append(f"{self.path}: {where}: code {code} is used with its ggml meaning {other}")
            return other
        if ours is None:
            raise self._fail(where, "unknown dtype code", code, ", ".join(map(str, layout.DTYPES)))
        if size == 0 and name in _TIED:
            self.tied_head = name
            self.warnings.append(f"{self.path}: {where}: holds no bytes and stands for the embedding (tied)")
            return ours
        problem = f"size does not match {ours} of shape {list(shape)}"
        raise self._fail(where, problem, size, tensor_nbytes(ours, shape), _CUT)

    def _decodable(self, name: str) -> tuple[TensorEntry, NDArray[np.uint8]]:
        if name != self.tied_head or _TIED[name] not in self.entries:
            return super()._decodable(name)
        entry, raw = super()._decodable(_TIED[name])
        if entry.shape != self.entries[name].shape:
            problem = "stands for the embedding, which has another shape"
            raise self._fail(f"tensor {name!r}", problem, list(self.entries[name].shape), list(entry.shape))
        return entry, raw

    def _check_padding(self, entries: list[TensorEntry]) -> None:
        """Bytes between the sections and after each tensor are zeros: content hidden there belongs to nothing."""
        header = self.header
        spans = [
            ("metadata padding", header.metadata_offset + header.metadata_size, header.index_offset),
            ("index padding", self._index_end, header.data_offset),
        ]
        spans += [
            (f"padding of tensor {e.name!r}", e.offset + e.nbytes, e.offset + layout.align64(e.nbytes)) for e in entries
        ]
        for where, start, stop in spans:
            if stop - start >= layout.ALIGNMENT:
                self._refuse(where, "is longer than the alignment needs", stop - start, layout.ALIGNMENT - 1)
            elif any(self._data[start:stop]):
                self._refuse(where, "is not zero", f"offset {start}..{stop}", "zeros")

    def _check_footer(self, end: int) -> None:
        """The last tensor must be followed by the 4-byte checksum of everything before it."""
        surplus = self._size - end
        where = f"offset {end}, footer"
        if surplus == 0:
            self.warnings.append(f"{self.path}: {where}: footer checksum is missing, damage cannot be detected")
            return
        if surplus != layout.FOOTER_BYTES:
            if surplus > 0:
                self._refuse(where, "file does not end with a 4-byte footer", f"{surplus} bytes", "4 bytes", _CUT)
            return
        (stored,) = struct.unpack_from("<I", self._data, end)
        computed = self._checksum(end)
        if stored != computed:
            found, limit = f"{stored:08x}", f"{computed:08x}"
            self._refuse(where, "checksum does not match the file: its bytes were changed", found, limit, _CUT)

    def _checksum(self, end: int) -> int:
        """CRC-32 of the first END bytes: of a large file once per process while its state on disk is the same.

        Pages already read are let go, so that memory stays bounded.
        """
        mapped = self._maps[0]
        if end < _LARGE:
            return crc32(self._data[:end])
        if mapped.state not in _KNOWN:
            while len(_KNOWN) >= _MOST_KNOWN:
                del _KNOWN[next(iter(_KNOWN))]
            _KNOWN[mapped.state] = crc32(self._data[:end], mapped.forget)
        return _KNOWN[mapped.state]

    def _check_overlap(self, entries: list[TensorEntry]) -> None:
        end = self.header.data_offset
        for entry in sorted((e for e in entries if e.nbytes), key=lambda e: e.offset):
            where = f"tensor {entry.name!r}"
            if entry.offset < end:
                self._refuse(where, "overlaps another tensor", entry.offset, end)
            elif entry.offset > layout.align64(end):
                gap = entry.offset - layout.align64(end)
                self.warnings.append(f"{self.path}: {where}: {gap} bytes before it belong to no tensor")
            end = max(end, entry.offset + entry.nbytes)
