"""Certification status: the state machine of the seed (scoring.md section 5)."""

from __future__ import annotations

PROVISIONAL_FROM = 700  # raw score
CERTIFIED_FROM = 850


def status_of(raw: int, *, gateways_passed: bool, complete: bool) -> str:
    """BLOCKED, PROVISIONAL or CERTIFIED. An incomplete run is never CERTIFIED."""
    if not gateways_passed or raw < PROVISIONAL_FROM:
        return "BLOCKED"
    return "CERTIFIED" if raw >= CERTIFIED_FROM and complete else "PROVISIONAL"
