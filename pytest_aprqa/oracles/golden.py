"""The golden oracle: expected beginning, texts that must and must not occur."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "golden"


def judge_golden(
    output: str,
    *,
    expected_prefix: str | None = None,
    must_contain: Sequence[str] | str = (),
    must_not_contain: Sequence[str] | str = (),
) -> Judgement:
    """Skip when nothing is expected. A single text stands for a list of one; spaces around the output do not count."""
    required = [must_contain] if isinstance(must_contain, str) else must_contain
    forbidden = [must_not_contain] if isinstance(must_not_contain, str) else must_not_contain
    if not (expected_prefix or "").strip() and not required and not forbidden:
        return Judgement(ORACLE, SKIP, "nothing is expected")
    if expected_prefix is not None and not output.strip().startswith(expected_prefix.strip()):
        return Judgement(ORACLE, FAIL, f"expected to begin with {expected_prefix!r}, found {output.strip()[:40]!r}")
    for text in required:
        if text not in output:
            return Judgement(ORACLE, FAIL, f"{text!r} does not occur")
    for text in forbidden:
        if text in output:
            return Judgement(ORACLE, FAIL, f"{text!r} occurs")
    return Judgement(ORACLE, PASS, "as expected")
