"""Certification status: the state machine of the seed (scoring.md section 5), and what the rules put before it."""

from __future__ import annotations

from pytest_aprqa.scoring.rules import rules

PROVISIONAL_FROM = int(rules()["status"]["provisional_from"])  # raw score
CERTIFIED_FROM = int(rules()["status"]["certified_from"])


def status_of(
    raw: int, *, gateways_passed: bool, complete: bool, proven: int | None = None, blocked: bool = False
) -> str:
    """BLOCKED, PROVISIONAL or CERTIFIED. An incomplete run is never CERTIFIED.

    `proven`: raw score when every check skipped inside the tested scope counts as not passed; CERTIFIED needs as much
    of it. None: nothing was skipped. `blocked`: a check of severity P0 was refuted.
    """
    if not gateways_passed or blocked or raw < PROVISIONAL_FROM:
        return "BLOCKED"
    certain = raw if proven is None else min(raw, proven)
    return "CERTIFIED" if certain >= CERTIFIED_FROM and complete else "PROVISIONAL"
