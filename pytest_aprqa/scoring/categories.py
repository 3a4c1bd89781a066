"""Which category a gate counts in, and the points of a category (scoring.md section 3)."""

from __future__ import annotations

import math
from fractions import Fraction

MAXIMA = {"QUAL": 200, "PERF": 150, "STAB": 200, "COMP": 150, "EDGE": 150, "REGR": 150}
REGRESSION_PREFIXES = ("F-CONV-RT", "F-CONV-IDEM", "F-CONV-COM")
COMPATIBILITY_PREFIXES = ("F-CONV", "F-CONTRACT")


def category_of(gate_id: str) -> str:
    """QUAL, PERF, STAB, COMP, EDGE or REGR; the first rule that applies, QUAL for everything else."""
    if gate_id.startswith(REGRESSION_PREFIXES):
        return "REGR"
    if gate_id.startswith(COMPATIBILITY_PREFIXES):
        return "COMP"
    if gate_id.startswith("G0-"):
        return "STAB"
    parts = gate_id.split("-")
    second = parts[1].upper() if len(parts) > 1 else ""
    return second if second in MAXIMA else "QUAL"


def points(passed: int, total: int, maximum: int) -> int:
    """round(passed / total x maximum), half away from zero (Python's round() is half to even); exact arithmetic."""
    if total == 0:
        return maximum
    return math.floor(Fraction(passed * maximum, total) + Fraction(1, 2))
