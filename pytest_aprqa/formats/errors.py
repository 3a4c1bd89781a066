"""The one-line error of a file that cannot be used, and this room's own: bytes that break the rules of their format.

A LocatedError names the file, the field or offset, what was found, the limit, and what to do about it.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

_SHOWN = 120
_PROBLEM_SHOWN = 2000


def printable(value: Any, limit: int = _SHOWN) -> str:
    """Text of VALUE on one line, at most LIMIT characters, without control characters or lone surrogates."""
    if isinstance(value, int) and value.bit_length() > 512:
        return f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value) if isinstance(value, bytes) else str(value)
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


class LocatedError(ValueError):
    """A file cannot be used. Attributes: path, where, problem, found, limit, advice (the last three may be None).

    `where` is a field name, a byte offset or empty; `str()` is always one line.
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
        place = [printable(self.path, 400), *([printable(self.where, 200)] if self.where else [])]
        line = ": ".join([*place, printable(" ".join(self.problem.split()), _PROBLEM_SHOWN)])
        if facts:
            line += f" ({', '.join(facts)})"
        if self.advice:
            line += f"; {printable(' '.join(self.advice.split()), 400)}"
        return line

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the attributes, so that the error crosses process borders unchanged."""
        return (_rebuild, (type(self), dict(self.__dict__)))


class FormatError(LocatedError):
    """A file breaks its format."""


class UndecodableType(FormatError):
    """A tensor whose type has no decoder here: nothing is known about its values, neither good nor bad."""


def _rebuild(kind: type[LocatedError], attributes: dict[str, Any]) -> LocatedError:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    ValueError.__init__(error, error._line())
    return error
