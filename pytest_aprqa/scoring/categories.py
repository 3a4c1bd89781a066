"""Which category a gate counts in, and the points of a category (scoring.md section 3)."""

from __future__ import annotations

import math
from fractions import Fraction

from pytest_aprqa.scoring.rules import rules

_RULE = rules()["categories"]
MAXIMA: dict[str, int] = dict(_RULE["maxima"])
_PREFIXES = tuple((tuple(rule["gate_ids"]), str(rule["category"])) for rule in _RULE["prefixes"])
_OTHERWISE = str(_RULE["otherwise"])


def category_of(gate_id: str) -> str:
    """QUAL, PERF, STAB, COMP, EDGE or REGR; the first rule that applies, QUAL for everything else."""
    for prefixes, category in _PREFIXES:
        if gate_id.startswith(prefixes):
            return category
    parts = gate_id.split("-")
    second = parts[1].upper() if len(parts) > 1 else ""
    return second if second in MAXIMA else _OTHERWISE


def points(passed: int, total: int, maximum: int) -> int:
    """round(passed / total x maximum), half away from zero (Python's round() is half to even); exact arithmetic."""
    if total == 0:
        return maximum
    return math.floor(Fraction(passed * maximum, total) + Fraction(1, 2))
