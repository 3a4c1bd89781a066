"""The one error of this room: a file whose bytes break the rules of its format.

A FormatError names the file, the field or offset, what was found, the limit, and what to do about it.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

_SHOWN = 120


def printable(value: Any, limit: int = _SHOWN) -> str:
    """Text of VALUE on one line, at most LIMIT characters, without control characters or lone surrogates."""
    if isinstance(value, int) and value.bit_length() > 512:
        return f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value) if isinstance(value, bytes) else str(value)
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


class FormatError(ValueError):
    """A file breaks its format. Attributes: path, where, problem, found, limit, advice (the last three may be None).

    `where` is a field name or a byte offset; `str()` is always one line.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        where: str,
        problem: str,
        *,
        found: Any = None,
        limit: Any = None,
        advice: str | None = None,
    ) -> None:
        self.path = fspath(path)
        self.where = where
        self.problem = problem
        self.found = found
        self.limit = limit
        self.advice = advice
        super().__init__(self._line())

    def _line(self) -> str:
        facts = []
        if self.found is not None:
            facts.append(f"found {printable(self.found)}")
        if self.limit is not None:
            facts.append(f"limit {printable(self.limit)}")
        line = f"{printable(self.path, 400)}: {printable(self.where, 200)}: {printable(self.problem, 300)}"
        if facts:
            line += f" ({', '.join(facts)})"
        if self.advice:
            line += f"; {printable(self.advice, 400)}"
        return line

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the attributes, so that the error crosses process borders unchanged."""
        return (_rebuild, (self.path, self.where, self.problem, self.found, self.limit, self.advice))


def _rebuild(path: str, where: str, problem: str, found: Any, limit: Any, advice: str | None) -> FormatError:
    return FormatError(path, where, problem, found=found, limit=limit, advice=advice)
