"""models.csv as a file: lossless, in its own order and line ends, replaced atomically, locked while it changes."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_aprqa.registry.errors import RegistryError
from pytest_aprqa.registry.row import COLUMNS, RegistryRow

MAX_BYTES = 16 << 20  # a registry of 100,000 models
LOCK_SECONDS = 60.0
ADVICE = f"the header is {','.join(COLUMNS[:3])},... ({len(COLUMNS)} columns)"


@dataclass
class Registry:
    """Rows by model id, in file order. Lines of rows that nobody changed are written back byte for byte."""

    path: Path
    newline: str = "\n"
    rows: dict[str, RegistryRow] = field(default_factory=dict)
    _lines: dict[str, str] = field(default_factory=dict)  # model id -> its text in the file, with the line end
    _head: str = ""

    def put(self, row: RegistryRow) -> None:
        """Replace the row of a model in its place, or add it at the end."""
        model_id = row["model_id"]
        if self.rows.get(model_id) != row:
            self._lines.pop(model_id, None)
        self.rows[model_id] = row

    def drop(self, model_id: str) -> None:
        """Take the row of a model out. KeyError: there is none."""
        del self.rows[model_id]
        self._lines.pop(model_id, None)

    def text(self) -> str:
        """The file's content."""
        head = self._head or _line(COLUMNS, self.newline)
        body = (
            self._lines.get(model_id) or _line([row[name] for name in COLUMNS], self.newline)
            for model_id, row in self.rows.items()
        )
        return head + "".join(line if line.endswith("\n") else line + self.newline for line in body)


def read_registry(path: Path) -> Registry:
    """Read models.csv. RegistryError: missing, too large, not UTF-8, another header, a row of another length, a
    model twice."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RegistryError(path, f"is larger than {MAX_BYTES >> 20} MiB", advice="this is no registry")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RegistryError(path, f"cannot be read: {error.strerror}", advice="check the path") from None
    except UnicodeDecodeError as error:
        raise RegistryError(path, f"is not UTF-8 at byte {error.start}", advice="save it as UTF-8") from None
    registry = Registry(path, newline="\r\n" if "\r\n" in text else "\n")
    records = list(_records(path, text))
    if not records or tuple(records[0][1]) != COLUMNS:
        raise RegistryError(path, "is not a registry of models", line=1, advice=ADVICE)
    registry._head = records[0][2] if records[0][2].endswith("\n") else records[0][2] + registry.newline
    for number, cells, line in records[1:]:
        if not cells:
            continue
        if len(cells) != len(COLUMNS):
            raise RegistryError(path, f"has {len(cells)} fields, the header {len(COLUMNS)}", line=number, advice=ADVICE)
        row = RegistryRow(dict(zip(COLUMNS, cells, strict=True)))
        if row["model_id"] in registry.rows:
            raise RegistryError(path, f"{row['model_id']} stands twice", line=number, advice="remove one of the rows")
        registry.rows[row["model_id"]] = row
        registry._lines[row["model_id"]] = line
    return registry


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str], str]]:
    """(line number, fields, text with its line end); a quoted field may span lines."""
    taken: list[str] = []

    def feed() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(feed(), strict=True)
    start = 0
    try:
        for cells in reader:
            yield start + 1, cells, "".join(taken[start:])
            start = len(taken)
    except csv.Error as error:
        raise RegistryError(path, f"is not CSV: {error}", line=start + 1, advice="check the quotes") from None


def _line(cells: list[str] | tuple[str, ...], newline: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # quotes a field with either of the two characters
    return out.getvalue().removesuffix("\r\n") + newline


def update_registry(path: Path, change: Callable[[Registry], None], *, create: bool = False) -> Registry:
    """Read, change and replace models.csv under a lock: two writers at once lose nothing.

    `create` starts an empty registry where there is none. RegistryError: as `read_registry`; lock held too long.
    """
    from filelock import FileLock, Timeout

    path = Path(os.path.realpath(path))  # a registry that is a link stays one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            registry = Registry(path) if create and not path.exists() else read_registry(path)
            change(registry)
            _replace(path, registry.text())
    except Timeout:
        raise RegistryError(
            path, f"another process holds it for {LOCK_SECONDS:.0f} s", advice="try again when it has ended"
        ) from None
    except OSError as error:
        raise RegistryError(path, f"cannot be written: {error.strerror}", advice="nothing was changed") from None
    return registry


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
