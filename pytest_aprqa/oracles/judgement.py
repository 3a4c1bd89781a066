"""The verdict of one oracle."""

from __future__ import annotations

from dataclasses import dataclass

PASS, FAIL, SKIP = "pass", "fail", "skip"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`verdict` is pass, fail or skip (the oracle has nothing to say about this prompt)."""

    oracle: str
    verdict: str
    reason: str
