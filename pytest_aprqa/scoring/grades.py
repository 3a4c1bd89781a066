"""Normalised score and letter grades: the seed's seven letters, and the fine scale of thirteen (scoring.md 4)."""

from __future__ import annotations

import math

from pytest_aprqa.scoring.rules import rules

_RULE = rules()["grades"]


def _least(value: float | None) -> float:
    return -math.inf if value is None else float(value)


# (least normalised score, grade, score band): the seed's table.
SEED_GRADES = tuple((_least(least), str(letter), str(label)) for least, letter, label in _RULE["seed"])
FINE_GRADES = tuple((_least(least), str(letter)) for least, letter in _RULE["fine"])


def normalize(raw: float) -> float:
    """100 ln(1 + 9 raw / 1000) / ln 10, within 0 to 100."""
    if raw <= 0:
        return 0.0
    return min(100.0, 100.0 * math.log(1 + 9 * raw / 1000) / math.log(10))


def grade(normalized: float) -> str:
    """Letter of the seed's table."""
    return next(letter for least, letter, _ in SEED_GRADES if normalized >= least)


def band(normalized: float) -> str:
    """Label of the score band; not the certification status."""
    return next(label for least, _, label in SEED_GRADES if normalized >= least)


def fine_grade(normalized: float) -> str:
    """Letter of the scale of thirteen."""
    return next(letter for least, letter in FINE_GRADES if normalized >= least)
