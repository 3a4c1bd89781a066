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


def without_evidence(facts: dict[str, Any]) -> list[str]:
    """Categories, gateways and P0 checks of which nothing ran, in this order."""
    gateways = [gateway["id"] for gateway in facts["gateways"] if gateway["passed"] is None]
    return unevaluated_categories(facts) + gateways + [str(gate) for gate in facts.get("not_evaluated_gates") or []]


SAID_ELSEWHERE = ("gateway ", "no evidence for ")


def verdict_reasons(facts: dict[str, Any]) -> list[str]:
    """Why the status is what it is, beyond failed gateways and missing evidence, which reports show on their own."""
    reasons = [str(reason) for reason in facts.get("status_reasons") or []]
    return [reason for reason in reasons if not reason.startswith(SAID_ELSEWHERE)]


def unevaluated_categories(facts: dict[str, Any]) -> list[str]:
    """Categories without any evidence that ran, upper-case, in the fixed order."""
    evaluated = facts.get("categories_evaluated")
    if evaluated is None:
        return []
    present = {str(name).upper() for name in evaluated}
    return [name for name in MAXIMA if name not in present]
