"""The append-only log of a run: one line of JSON per attempt, on disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.record import Evidence, canonical_json

LONGEST_LINE = 64 << 20  # bytes of one entry that is read


class EvidenceLog:
    """Appends entries; each is flushed and synced. EvidenceError in one line when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._mend_torn_end()
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be opened for writing: {error.strerror}") from None
        self._closed = False

    def _mend_torn_end(self) -> None:
        """A run that was killed in the middle of a line must not swallow the first line of this one."""
        if self.path.is_file() and (size := self.path.stat().st_size):
            with self.path.open("r+b") as stream:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")

    def append(self, evidence: Evidence) -> None:
        """Write one entry; when this returns it is on the disk."""
        data = canonical_json(evidence).encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno == 22:  # EINVAL: not a file that can be synced (a device, a pipe)
                return
            advice = "free some space; what is in the log is safe"
            raise EvidenceError(f"{self.path}: cannot be written: {error.strerror}; {advice}") from None

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

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.entries[index]

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self.entries)


def read_log(path: Path) -> LogContent:
    """Read evidence.jsonl. A torn line (the run was killed while writing) is a warning, any other damage an error."""
    entries, warnings = [], []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > LONGEST_LINE:
            raise EvidenceError(f"{path}:{number}: line of {len(line)} bytes, limit {LONGEST_LINE}")
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            warnings.append(f"{path}:{number}: torn line of {len(line)} bytes left out (the run was interrupted there)")
            continue
        try:
            entries.append(Evidence.from_dict(values))
        except EvidenceError as error:
            raise EvidenceError(f"{path}:{number}: {error}") from None
    return LogContent(tuple(entries), tuple(warnings))


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
