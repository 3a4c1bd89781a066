"""Several judgements as one: all must pass, or any one."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_aprqa.oracles.errors import OracleError
from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "composite"
MODES = ("all", "any")


def combine(judgements: Sequence[Judgement], *, mode: str = "all") -> Judgement:
    """`all`: the first failing member decides. `any`: one pass is enough. Skip when no member looked."""
    if mode not in MODES:
        raise OracleError(f"oracles: composite: unknown mode {mode!r}; known: {', '.join(MODES)}")
    looked = [j for j in judgements if j.verdict != SKIP]
    if not looked:
        return Judgement(ORACLE, SKIP, "no member could judge")
    failures = [j for j in looked if j.verdict == FAIL]
    if mode == "any" and len(failures) < len(looked):
        return Judgement(ORACLE, PASS, "one member passes")
    if failures:
        return Judgement(ORACLE, FAIL, f"{failures[0].oracle}: {failures[0].reason}")
    return Judgement(ORACLE, PASS, "all members pass")
