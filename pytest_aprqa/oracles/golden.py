"""The golden oracle: expected beginning, texts that must and must not occur."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "golden"


def judge_golden(
    output: str,
    *,
    expected_prefix: str | None = None,
    must_contain: Sequence[str] = (),
    must_not_contain: Sequence[str] = (),
) -> Judgement:
    """Skip when nothing is expected."""
    if expected_prefix is None and not must_contain and not must_not_contain:
        return Judgement(ORACLE, SKIP, "nothing is expected")
    if expected_prefix is not None and not output.strip().startswith(expected_prefix.strip()):
        return Judgement(ORACLE, FAIL, f"expected to begin with {expected_prefix!r}, found {output.strip()[:40]!r}")
    for text in must_contain:
        if text not in output:
            return Judgement(ORACLE, FAIL, f"{text!r} does not occur")
    for text in must_not_contain:
        if text in output:
            return Judgement(ORACLE, FAIL, f"{text!r} occurs")
    return Judgement(ORACLE, PASS, "as expected")
