"""Conditions of verification gates: comparisons of measured values with numbers, joined by && and ||."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_aprqa.playbooks.document import number_of

_COMPARISON = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(==|!=|<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison, `diff < 1e-6`."""

    name: str
    symbol: str
    limit: float

    def __str__(self) -> str:
        return f"{self.name} {self.symbol} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Condition:
    """`alternatives`: the condition holds when all comparisons of one of them hold."""

    alternatives: tuple[tuple[Comparison, ...], ...]

    @property
    def names(self) -> list[str]:
        """What must be measured, sorted."""
        return sorted({one.name for group in self.alternatives for one in group})

    def problem(self, measured: Mapping[str, float]) -> str | None:
        """None when it holds; else the first comparison that does not, with the value. KeyError: not measured."""
        first = None
        for group in self.alternatives:
            broken = [one for one in group if not _OPERATORS[one.symbol](measured[one.name], one.limit)]
            if not broken:
                return None
            first = first or f"{broken[0]} does not hold: {broken[0].name} is {measured[broken[0].name]:g}"
        return first


def parse_condition(text: str) -> Condition:
    """Read `exit_code == 0 && diff < 1e-6`; && binds closer than ||. ValueError says what is not understood."""
    return Condition(tuple(tuple(map(_comparison, group.split("&&"))) for group in text.split("||")))


def _comparison(text: str) -> Comparison:
    match = _COMPARISON.fullmatch(text)
    number = number_of(match[3].removeprefix("+")) if match else None
    if match is None or number is None:
        raise ValueError(f"`{text.strip()}` is not a comparison of a name with a number, such as diff < 1e-6")
    return Comparison(match[1], match[2], float(number))
