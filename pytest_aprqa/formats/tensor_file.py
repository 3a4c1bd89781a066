"""The common face of an open artifact file: named tensors over read-only memory maps, decoded on demand.

Readers fill the entries after checking them; nothing here copies a file or allocates from a count the file declares.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import stat
from abc import ABC
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.errors import FormatError, UndecodableType
from pytest_aprqa.formats.value_sums import ValueSums, sums_of

_NATIVE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "<i1", "I16": "<i2", "I32": "<i4"}
_NATIVE |= {"I64": "<i8", "U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?", "C64": "<c8"}

RESIDENT = 64 << 20  # bytes of a file's pages that may stay in the process
LARGE_PAGE = 2 << 20  # bytes that the system maps at once at most (x86 and most of ARM)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as declared: row-major shape (outermost first), absolute byte offset in its file, stored bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class MappedFile:
    """One regular file mapped read-only: `path`, `size` in bytes, `data` (bytes-like). FormatError if it cannot be.

    `state`: device, inode, size and times of change: equal while the file is the same, for what is costly to ask twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path if isinstance(path, Path) else Path(path)
        self._view: memoryview | None = None
        self._looked_at = 0
        try:
            # Not blocking: opening a named pipe would otherwise wait for a writer for ever.
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem)
            raise FormatError(path, "file", f"cannot be opened: {reason}", advice="check the path") from problem
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(path, "file", "is not a regular file", advice="name a model file")
            self.size = status.st_size
            times = (status.st_mtime_ns, status.st_ctime_ns)
            self.state = (status.st_dev, status.st_ino, status.st_size, *times)
            self._view = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ) if self.size else b"")
        except OSError as problem:
            raise FormatError(path, "file", f"cannot be mapped: {problem.strerror}") from problem
        finally:
            os.close(handle)

    @property
    def data(self) -> memoryview:
        """The bytes of the file, read-only; FormatError after `close`."""
        if self._view is None:
            raise FormatError(self.path, "file", "is closed", advice="read tensors inside the with block")
        return self._view

    def forget(self, start: int, stop: int) -> None:
        """Drop the resident pages of bytes [START, STOP), START page-aligned; they are read again when needed."""
        mapped = self.data.obj
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def count_read(self, size: int) -> None:
        """Count SIZE bytes that were looked at; when RESIDENT of them have come together, all pages are let go.

        Pages of a map count as memory of the process until the system needs them: a large file would look like a leak,
        and be one where memory is limited. Arrays stay valid, their pages are read again.
        """
        self._looked_at += size
        if self._looked_at >= RESIDENT and self._view is not None:
            self._looked_at = 0
            self.forget(0, self.size)

    def close(self) -> None:
        """Let the map go. Arrays already handed out stay valid; the memory is unmapped with the last of them."""
        self._view = None


class TensorFile(ABC):
    """An open model file (or a set of shards) and its tensors. A context manager; arrays outlive it safely.

    `metadata` holds the format's own key-value data, `entries` the tensors in file order under the file's own names,
    `warnings` what is odd but not refused.
    """

    format: ClassVar[str]
    path: Path
    files: list[Path]
    metadata: Mapping[str, Any]
    entries: Mapping[str, TensorEntry]
    warnings: list[str]

    def __init__(self, path: str | os.PathLike[str], *, strict: bool = True) -> None:
        self.path = path if isinstance(path, Path) else Path(path)
        self.strict = strict
        self.files = []
        self.metadata = {}
        self.entries = {}
        self.warnings = []
        self._maps: list[MappedFile] = []
        self._owners: dict[str, int] = {}

    def close(self) -> None:
        """Release the maps; reading a tensor afterwards is a FormatError."""
        for mapped in self._maps:
            mapped.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def file_of(self, name: str) -> Path:
        """The file that holds tensor NAME (a shard, or the file itself)."""
        return self._mapped(name).path

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Stored bytes of tensor NAME: read-only uint8 [nbytes], a view of the map. FormatError: unknown name."""
        mapped, entry = self._mapped(name), self.entries[name]
        return np.frombuffer(mapped.data, np.uint8, entry.nbytes, entry.offset if entry.nbytes else 0)

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor NAME as a new float32 array of its shape (C64: [*shape, 2]), rows in the file's own order.

        UndecodableType: a type without decoder. FormatError: unknown name, or a tensor stored without bytes.
        """
        entry, raw = self._decodable(name)
        values = codecs.decode(entry.dtype, raw, entry.shape)
        self.count_read(name, entry.nbytes)
        return values

    def count_read(self, name: str, size: int) -> None:
        """Tell that SIZE bytes of tensor NAME were looked at through `raw`: resident pages of the file stay bounded."""
        nbytes = self.entries[name].nbytes
        # A few bytes make a whole large page resident: small tensors of a large file are far apart.
        self._mapped(name).count_read(size * LARGE_PAGE // nbytes if 0 < nbytes < LARGE_PAGE else size)

    def read_native(self, name: str) -> NDArray[Any]:
        """Tensor NAME without conversion where numpy has the type (BF16: uint16 patterns); quantised: float32."""
        entry, raw = self._decodable(name)
        if entry.dtype in _NATIVE:
            return raw.view(_NATIVE[entry.dtype]).reshape(entry.shape)
        return codecs.decode(entry.dtype, raw, entry.shape)

    def chunks(self, name: str, elements: int = 1 << 20) -> Iterator[NDArray[np.float32]]:
        """Tensor NAME as flat float32 pieces of about ELEMENTS values in row-major order: bounded memory."""
        entry, raw = self._decodable(name)
        return self._counted(name, codecs.decode_pieces(entry.dtype, raw, entry.shape, elements), len(raw))

    def _counted(self, name: str, pieces: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
        """The pieces of a tensor of SIZE bytes, each counted as read when the next one is asked for."""
        entry = self.entries[name]
        count = math.prod(entry.shape) * (2 if entry.dtype == "C64" else 1)
        for piece in pieces:
            yield piece
            self.count_read(name, size * piece.size // count)

    def sums(self, name: str, threads: int | None = None) -> ValueSums:
        """Count, odd values, extremes, mean and spread of tensor NAME at the speed of memory; errors as `read`."""
        entry, raw = self._decodable(name)
        sums = sums_of(entry.dtype, raw, entry.shape, threads)
        self.count_read(name, entry.nbytes)
        return sums

    def _mapped(self, name: str) -> MappedFile:
        if name not in self._owners:
            raise FormatError(self.path, f"tensor {name!r}", "is not in the file", advice="see `entries` for the names")
        return self._maps[self._owners[name]]

    def _decodable(self, name: str) -> tuple[TensorEntry, NDArray[np.uint8]]:
        raw, entry = self.raw(name), self.entries[name]
        where = f"tensor {name!r}"
        if entry.dtype not in codecs.DECODABLE:
            why = codecs.UNDEFINED.get(entry.dtype)
            problem = f"cannot decode {entry.dtype}" + (f": {why}" if why else "")
            advice = "use a file in F32, F16, BF16, Q8_0, MXFP4, IQ4_NL or a Q2_K to Q6_K type"
            raise UndecodableType(self.file_of(name), where, problem, advice=advice)
        expected = codecs.tensor_nbytes(entry.dtype, entry.shape)
        if entry.nbytes != expected:
            problem = f"holds {entry.nbytes} bytes, its type and shape need {expected}"
            raise FormatError(
                self.file_of(name), where, problem, advice="a head without bytes means: use the embedding"
            )
        return entry, raw

    def _soften(self, error: FormatError) -> None:
        """Raise ERROR in strict mode; note it as a warning otherwise."""
        if self.strict:
            raise error
        self.warnings.append(str(error))


def sha256_of(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Hex SHA-256 over the bytes of the files, one after the other in the given order. FormatError if unreadable."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with Path(path).open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as problem:
            raise FormatError(path, "file", f"cannot be read: {problem.strerror}") from problem
    return digest.hexdigest()
