"""Normalised score and letter grades: the seed's seven letters, and the fine scale of thirteen (scoring.md 4)."""

from __future__ import annotations

import math

# (least normalised score, grade, score band): the seed's table.
SEED_GRADES = (
    (97.0, "A+", "CERTIFIED"),
    (93.0, "A", "CERTIFIED"),
    (90.0, "A-", "CERTIFIED"),
    (83.0, "B", "PROVISIONAL"),
    (70.0, "C", "Qualifies"),
    (60.0, "D", "Below threshold"),
    (-math.inf, "F", "BLOCKED"),
)
FINE_GRADES = (
    (97.0, "A+"), (93.0, "A"), (90.0, "A-"), (87.0, "B+"), (83.0, "B"), (80.0, "B-"), (77.0, "C+"),
    (73.0, "C"), (70.0, "C-"), (67.0, "D+"), (63.0, "D"), (60.0, "D-"), (-math.inf, "F"),
)  # fmt: skip


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
