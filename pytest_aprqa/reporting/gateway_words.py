"""How the mqs.json facts read in words: gateways that nobody evaluated are never called passed."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.scoring.categories import MAXIMA
from pytest_aprqa.scoring.gateways import FAILED, PASSED


def gateway_word(gateway: dict[str, Any]) -> str:
    """`pass`, `FAIL`, `not evaluated` or `switched off` for one entry of `gateways`."""
    return {PASSED: "pass", FAILED: "FAIL"}.get(gateway["state"], str(gateway["state"]))


def category_points(facts: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(category, points, maximum) in the fixed order."""
    points = {name.upper(): int(value) for name, value in facts["categories"].items()}
    return [(name, points.get(name, 0), maximum) for name, maximum in MAXIMA.items()]


def unevaluated_categories(facts: dict[str, Any]) -> list[str]:
    """Categories without any evidence that ran, upper-case, in the fixed order."""
    evaluated = facts.get("categories_evaluated")
    if evaluated is None:
        return []
    present = {str(name).upper() for name in evaluated}
    return [name for name in MAXIMA if name not in present]
