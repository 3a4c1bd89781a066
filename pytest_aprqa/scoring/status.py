"""Certification status: the state machine of the seed (scoring.md section 5), and what the rules put before it."""

from __future__ import annotations

from pytest_aprqa.scoring.rules import rules

PROVISIONAL_FROM = int(rules()["status"]["provisional_from"])  # raw score
CERTIFIED_FROM = int(rules()["status"]["certified_from"])


def status_of(raw: int, *, gateways_passed: bool, complete: bool, blocked: bool = False) -> str:
    """BLOCKED, PROVISIONAL or CERTIFIED. An incomplete run is never CERTIFIED. `blocked`: a P0 check was refuted."""
    if not gateways_passed or blocked or raw < PROVISIONAL_FROM:
        return "BLOCKED"
    return "CERTIFIED" if raw >= CERTIFIED_FROM and complete else "PROVISIONAL"
