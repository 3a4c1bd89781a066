"""The one error of this room: a playbook that cannot be used, as file:line:column, key, problem, value, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

VALUE_SHOWN = 80
TEXT_SHOWN = 600

KeyPath = tuple[str | int, ...]


def one_line(text: str, limit: int = TEXT_SHOWN) -> str:
    """TEXT cut to LIMIT characters, with line breaks, control characters and lone surrogates escaped."""
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


def shown_value(value: Any, limit: int = VALUE_SHOWN) -> str:
    """A value as it reads in YAML: text quoted, `true`, `null`; a list or mapping by its size only."""
    if isinstance(value, dict):
        return f"a mapping of {len(value)} key{'' if len(value) == 1 else 's'}"
    if isinstance(value, list):
        return f"a list of {len(value)} item{'' if len(value) == 1 else 's'}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{one_line(value, limit)}'"
    return one_line(str(value), limit)


def shown_path(path: KeyPath) -> str:
    """`("model", "formats", 0)` as `model.formats[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{one_line(part, 60)}" if text else one_line(part, 60)
    return text


class PlaybookError(ValueError):
    """A playbook is missing or wrong. `str()` is one line: `path:line:column: key: problem (found X); advice`.

    `line` and `column` count from 1, or are None when the fault has no position. `others` holds the one-line texts of
    further faults of the same file, in file order; `places` the folders that a lookup went through.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        problem: str,
        *,
        key_path: KeyPath | str = (),
        line: int | None = None,
        column: int | None = None,
        found: str | None = None,
        advice: str | None = None,
        others: Sequence[str] = (),
        places: Sequence[str] = (),
        faults: Sequence[str] = (),
    ) -> None:
        self.path = fspath(path)
        self.problem = problem
        self.key_path = key_path if isinstance(key_path, str) else shown_path(key_path)
        self.line = line
        self.column = column
        self.found = found
        self.advice = advice
        self.others = list(others)
        self.places = list(places)
        self._faults = list(faults)
        super().__init__(self._text())

    def _text(self) -> str:
        place = one_line(self.path, 400)
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        text = f"{place}: {self.fault}"
        if self.others:
            text += f" ({len(self.others)} more: {one_line(self.others[0], 200)}{' ...' if self.others[1:] else ''})"
        return text

    def with_others(self, others: Sequence[PlaybookError]) -> PlaybookError:
        """The same error, which also says that the file has further faults."""
        return PlaybookError(
            self.path,
            self.problem,
            key_path=self.key_path,
            line=self.line,
            column=self.column,
            found=self.found,
            advice=self.advice,
            others=[f"line {other.line}: {other.fault}" for other in others],
            faults=[str(self), *(str(other) for other in others)],
        )

    @property
    def faults(self) -> list[str]:
        """Every fault of the file as a line of its own, `path:line:column: ...`, in file order."""
        return self._faults or [str(self)]

    @property
    def fault(self) -> str:
        """The line without file and position."""
        text = f"{self.key_path}: " if self.key_path else ""
        text += one_line(self.problem, 2000)
        if self.found is not None:
            text += f" (found {one_line(self.found, 200)})"
        if self.advice:
            text += f"; {one_line(self.advice)}"
        return text
