"""The falsification report: what was tried to be refuted, and how strongly it stood (scoring.md section 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence

WEIGHTS = {1: 1.0, 2: 1.5, 3: 2.0, 4: 2.5, 5: 3.0}
Z = 1.96  # 95 % two-sided
BLACK_SWAN_SEVERITY = 4


@dataclass(frozen=True, slots=True)
class Falsification:
    """One refuted gate."""

    gate_id: str
    hypothesis: str
    evidence: str
    severity: int
    is_black_swan: bool
    occurrence_count: int


@dataclass(frozen=True, slots=True)
class FalsificationReport:
    """Counts, ratios (0 to 1) and the refuted gates sorted by id."""

    hypotheses_tested: int
    corroborated: int
    falsified: int
    inconclusive: int
    corroboration_ratio: float
    severity_weighted_score: float
    confidence_level: float
    reproducibility_index: float
    black_swan_count: int
    falsifications: list[Falsification]

    @property
    def strongly_corroborated(self) -> bool:
        """Ratio at least 0.95 and no black swan."""
        return self.corroboration_ratio >= 0.95 and self.black_swan_count == 0

    @property
    def summary(self) -> str:
        """One sentence."""
        if not self.hypotheses_tested:
            return "No hypothesis was tested"
        if not self.falsified:
            return "No falsifications - strongly corroborated"
        share = 100 * self.falsified / self.hypotheses_tested
        return f"{self.falsified} of {self.hypotheses_tested} hypotheses falsified ({share:.1f}%)"


def severity_of(gate_id: str) -> int:
    """1 (mild) to 5 (critical)."""
    if "-P0-" in gate_id or gate_id.startswith("G"):
        return 5
    if "-P1-" in gate_id:
        return 4
    if "-P2-" in gate_id or "EDGE" in gate_id or "STAB" in gate_id:
        return 3
    return 2 if "PERF" in gate_id else 1


def wilson_lower_bound(successes: int, trials: int) -> float:
    """Lower end of the 95 % Wilson interval of a proportion; 0 without trials."""
    if trials == 0:
        return 0.0
    p, n, zz = successes / trials, trials, Z * Z
    bound = (p + zz / (2 * n) - Z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n)
    return min(1.0, max(0.0, bound))


HYPOTHESES = {
    "QUAL": "The model produces valid output",
    "PERF": "The model meets its performance requirements",
    "STAB": "The model is stable under stress",
    "COMP": "The model is compatible across formats and backends",
    "EDGE": "The model handles edge cases",
    "REGR": "The model is consistent with its source and earlier versions",
}


def hypothesis_of(gate_id: str) -> str:
    """What a gate claims, by the category word in its id."""
    return next((text for word, text in HYPOTHESES.items() if word in gate_id), f"Hypothesis for {gate_id}")


def falsification_report(evidence: Sequence[Evidence]) -> FalsificationReport:
    """The report; an empty list gives zeros."""
    corroborated = [e for e in evidence if e.outcome is Outcome.CORROBORATED]
    falsified = [e for e in evidence if e.outcome in (Outcome.FALSIFIED, Outcome.CRASHED)]  # a time-out is inconclusive
    tested = len(corroborated) + len(falsified)
    weights = [WEIGHTS[severity_of(e.gate_id)] for e in evidence]
    good = sum(WEIGHTS[severity_of(e.gate_id)] for e in corroborated)
    groups: dict[str, list[Evidence]] = {}
    for entry in falsified:
        groups.setdefault(entry.gate_id, []).append(entry)
    repeated = sum(len(group) for group in groups.values() if len(group) > 1)
    rows = [
        Falsification(
            gate_id=gate,
            hypothesis=hypothesis_of(gate),
            evidence=group[0].reason,
            severity=severity_of(gate),
            is_black_swan=any(_black_swan(e) for e in group),
            occurrence_count=len(group),
        )
        for gate, group in sorted(groups.items())
    ]
    return FalsificationReport(
        hypotheses_tested=tested,
        corroborated=len(corroborated),
        falsified=len(falsified),
        inconclusive=sum(e.outcome in (Outcome.SKIPPED, Outcome.TIMEOUT) for e in evidence),
        corroboration_ratio=len(corroborated) / tested if tested else 0.0,
        severity_weighted_score=good / sum(weights) if weights else 0.0,
        confidence_level=wilson_lower_bound(len(corroborated), tested),
        reproducibility_index=repeated / len(falsified) if falsified else 1.0,
        black_swan_count=sum(_black_swan(e) for e in falsified),
        falsifications=rows,
    )


def _black_swan(entry: Evidence) -> bool:
    return entry.outcome is Outcome.CRASHED or severity_of(entry.gate_id) >= BLACK_SWAN_SEVERITY
