"""The append-only log of a run: one line of JSON per attempt, on disk before the next one begins."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.record import Evidence, canonical_json

BATCH_LINES, BATCH_BYTES = 256, 4 << 20  # that are parsed in one call
LONGEST_LINE = 64 << 20  # bytes of one entry that is read


class EvidenceLog:
    """Appends entries; each is flushed and synced. EvidenceError in one line when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._torn = self._ends_torn()
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EvidenceError(
                f"{path}: cannot be opened for writing: {error.strerror}; choose a folder that can be written"
            ) from None
        self._closed = False

    def __enter__(self) -> EvidenceLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ends_torn(self) -> bool:
        """A run that was killed in the middle of a line must not swallow the first line of this one."""
        if not self.path.is_file() or not (size := self.path.stat().st_size):
            return False
        with self.path.open("rb") as stream:
            stream.seek(size - 1)
            return stream.read(1) != b"\n"

    def append(self, evidence: Evidence, text: str | None = None) -> None:
        """Write one entry; when this returns it is on the disk. `text` is its canonical JSON, where that is known."""
        if self._closed:
            raise EvidenceError(f"{self.path}: the log is closed; nothing can be added to this run")
        data = b"\n" * self._torn + (text or canonical_json(evidence)).encode("ascii") + b"\n"
        try:
            self._torn = True  # until the last byte is written
            while data:
                data = data[os.write(self._descriptor, data) :]
            self._torn = False
            self._sync()
        except OSError as error:
            raise EvidenceError(
                f"{self.path}: cannot be written: {error.strerror}; free some space, what is in the log is safe"
            ) from None

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe, a device: there is nothing to sync
                raise

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class LogContent(Sequence[Evidence]):
    """The entries of a log, and a warning for every line that could not be read."""

    entries: tuple[Evidence, ...]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Evidence: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Evidence, ...]: ...

    def __getitem__(self, index: int | slice) -> Evidence | tuple[Evidence, ...]:
        return self.entries[index]

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self.entries)


def read_log(path: Path) -> LogContent:
    """Read evidence.jsonl. A torn line (the run was killed while writing) is a warning, any other damage an error."""
    entries: list[Evidence] = []
    warnings: list[str] = []
    try:
        with path.open("rb") as stream:
            number, size = 0, 0
            batch: list[bytes] = []
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    entries += _entries_of(batch, path, number - len(batch), warnings)
                    raise EvidenceError(f"{path}:{number}: line too long (found more than {LONGEST_LINE} bytes)")
                batch.append(line)
                size += len(line)
                if len(batch) == BATCH_LINES or size >= BATCH_BYTES:
                    entries += _entries_of(batch, path, number + 1 - len(batch), warnings)
                    batch, size = [], 0
            entries += _entries_of(batch, path, number + 1 - len(batch), warnings)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None
    return LogContent(tuple(entries), tuple(warnings))


def _entries_of(lines: list[bytes], path: Path, first: int, warnings: list[str]) -> list[Evidence]:
    """The entries of LINES, of which FIRST is the number of the first."""
    together = _parsed_together(lines)
    entries = []
    for number, line in enumerate(lines, start=first):
        if together is None:
            entry = _entry_of(line, f"{path}:{number}", warnings)
            entries += [] if entry is None else [entry]
            continue
        try:
            entries.append(Evidence.from_dict(together[number - first]))
        except EvidenceError as error:
            raise EvidenceError(f"{path}:{number}: {error}") from None
    return entries


def _parsed_together(lines: list[bytes]) -> list[Any] | None:
    """The objects of sound lines; None where one is not sound, and has to be looked at alone.

    One call of the parser keeps each name of a field once: a long log takes half of the memory.
    """
    texts = [line.strip() for line in lines]
    if not all(text.startswith(b"{") and text.endswith(b"}") for text in texts):
        return None
    try:
        values = json.loads(b"[" + b",".join(texts) + b"]")
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(lines) else None


def _entry_of(line: bytes, where: str, warnings: list[str]) -> Evidence | None:
    """The entry of a line; None for an empty one, and for a torn one, with a warning."""
    if not line.strip():
        return None
    try:
        return Evidence.from_dict(json.loads(line))
    except EvidenceError as error:
        raise EvidenceError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        # A damaged line in the middle might have been a failure: leaving it out would improve the score.
        if not line.endswith(b"\n") or is_torn(line):
            warnings.append(f"{where}: torn line of {len(line)} bytes left out (the run was interrupted there)")
            return None
        what = f"is not JSON: {error}" if isinstance(error, ValueError) else "is nested too deeply"
        raise EvidenceError(f"{where}: damaged: the line {what}; restore the file or run again") from None


def is_torn(line: bytes) -> bool:
    """True for the beginning of an object that is not closed: what an interrupted write leaves behind."""
    text = line.rstrip(b"\0\r\n ")  # a power cut leaves zeros
    if not text:
        return True
    depth, in_text, escaped = 0, False, False
    for byte in text:
        if in_text:
            in_text = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            in_text = True
        elif byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
    return text.startswith(b"{") and (in_text or depth > 0)


def read_json(path: Path) -> LogContent:
    """Read evidence.json: an array of entries, or an object with the key `evidence`."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: is not JSON: {error}") from None
    if isinstance(document, dict):
        document = document.get("evidence")
    if not isinstance(document, list):
        raise EvidenceError(f"{path}: neither an array of entries nor an object with the key `evidence`")
    entries = []
    for number, values in enumerate(document):
        try:
            entries.append(Evidence.from_dict(values))
        except EvidenceError as error:
            raise EvidenceError(f"{path}: entry {number}: {error}") from None
    return LogContent(tuple(entries), ())
