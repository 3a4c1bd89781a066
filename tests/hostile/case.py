"""One hostile file: its name, what it is, where it comes from, how it is made, who reads it, what must be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.formats.opening import open_tensor_file

FIELD_NOTES = "list of bad inputs to survive"


@dataclass(frozen=True)
class Case:
    """`number`: its place in the list of 54 (None: of the same kind, not in the list). `words`: in the error line.

    `seconds`: limit of the reading; templates have a time limit of their own, and their process a start.
    """

    number: int | None
    name: str
    what: str
    origin: str
    words: str
    build: Callable[[Path], Path]
    read: Callable[[Path], object]
    seconds: float = 2.0


def opened(path: Path) -> None:
    """Open strictly, as every check does."""
    open_tensor_file(path).close()


def saved(name: str, data: bytes) -> Callable[[Path], Path]:
    """Build: one file of these bytes."""

    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build
