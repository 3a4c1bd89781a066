"""The Model Qualification Score, 0 to 1000: one code path for runs, re-scoring, registry and certificates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.categories import MAXIMA, category_of, points
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.gateways import FAILED, GatewayResult, evaluate, evaluate_compat
from pytest_aprqa.scoring.grades import band, fine_grade, grade, normalize
from pytest_aprqa.scoring.status import status_of

RULES_VERSION = "1"  # raise with every change of a rule; a change needs a re-score of recorded evidence
CRASH_POINTS = 20
TIMEOUT_POINTS = 10
GATEWAY_POINTS = 1000
QUALIFIES_FROM = 70.0  # normalised
PRODUCTION_FROM = 90.0


@dataclass(frozen=True, slots=True)
class Penalty:
    """Points taken off, and why."""

    code: str
    description: str
    points: int


@dataclass(frozen=True, slots=True)
class QualificationScore:
    """Everything in mqs.json. `categories` are zero when a gateway failed, `ungated_raw` says what they would give."""

    model_id: str
    raw_score: int
    ungated_raw: int
    gateways: list[GatewayResult]
    categories: dict[str, int]
    categories_evaluated: list[str]
    counts: dict[str, int]
    penalties: list[Penalty]
    scope: dict[str, Any]
    incomplete: bool
    compat: bool = field(default=False)

    @property
    def normalized_score(self) -> float:
        """0 to 100, logarithmic."""
        return normalize(self.raw_score)

    @property
    def gateways_passed(self) -> bool:
        """No gateway failed; see `not_evaluated_gateways` for those that nothing is known about."""
        return all(g.state != FAILED for g in self.gateways)

    @property
    def not_evaluated_gateways(self) -> list[str]:
        """Gateways without evidence, and those that were switched off: neither is a pass."""
        return [g.id for g in self.gateways if g.passed is None]

    @property
    def not_evaluated_categories(self) -> list[str]:
        """Categories in which nothing ran."""
        return [name for name in MAXIMA if name not in self.categories_evaluated]

    @property
    def grade(self) -> str:
        """Letter; F when a gateway failed. Compatibility mode uses the fine scale."""
        if not self.gateways_passed:
            return "F"
        return fine_grade(self.normalized_score) if self.compat else grade(self.normalized_score)

    @property
    def status(self) -> str:
        """BLOCKED, PROVISIONAL or CERTIFIED."""
        return status_of(self.raw_score, gateways_passed=self.gateways_passed, complete=not self.incomplete)

    @property
    def qualifies(self) -> bool:
        """All gateways evaluated and passed, and normalised score at least 70."""
        return self.gateways_passed and not self.not_evaluated_gateways and self.normalized_score >= QUALIFIES_FROM

    @property
    def production_ready(self) -> bool:
        """All gateways evaluated and passed, and normalised score at least 90."""
        return self.gateways_passed and not self.not_evaluated_gateways and self.normalized_score >= PRODUCTION_FROM

    def to_dict(self) -> dict[str, Any]:
        """The content of mqs.json."""
        passed = self.counts["Corroborated"] + (self.counts["Skipped"] if self.compat else 0)
        failed = sum(self.counts[o.value] for o in Outcome if o.failed)
        return {
            "model_id": self.model_id,
            "raw_score": self.raw_score,
            "normalized_score": self.normalized_score,
            "grade": self.grade,
            "fine_grade": fine_grade(self.normalized_score) if self.gateways_passed else "F",
            "status": self.status,
            "band": band(self.normalized_score),
            "incomplete": self.incomplete,
            "qualifies": self.qualifies,
            "production_ready": self.production_ready,
            "gateways": [g.to_dict() for g in self.gateways],
            "gateways_passed": self.gateways_passed,
            "categories": {name.lower(): value for name, value in self.categories.items()},
            "categories_evaluated": [name.lower() for name in self.categories_evaluated],
            "not_evaluated_categories": [name.lower() for name in self.not_evaluated_categories],
            "not_evaluated_gateways": self.not_evaluated_gateways,
            "total_tests": sum(self.counts.values()),
            "tests_passed": passed,
            "tests_failed": failed,
            "tests_skipped": self.counts["Skipped"],
            "outcomes": dict(self.counts),
            "penalties": [{"code": p.code, "description": p.description, "points": p.points} for p in self.penalties],
            "total_penalty": sum(p.points for p in self.penalties),
            "ungated_raw": self.ungated_raw,
            "scope": self.scope,
            "rules_version": RULES_VERSION,
            "compat": self.compat,
        }


def score(
    evidence: Sequence[Evidence],
    *,
    model_id: str,
    compat: bool = False,
    enabled_gateways: Collection[str] | None = None,
) -> QualificationScore:
    """Score evidence. EmptyEvidence when there is none, or when every entry was skipped (not in compat mode).

    `compat` reproduces the ancestor for its recorded files: skipped counts as passed, an empty category is full, only
    its own gateway ids count.
    """
    ran = [e for e in evidence if e.outcome is not Outcome.SKIPPED]
    if not evidence:
        raise EmptyEvidence("there is no evidence: nothing was run, so nothing is proven")
    if not ran and not compat:
        raise EmptyEvidence(f"all {len(evidence)} entries were skipped: nothing was run, so nothing is proven")
    gateways = evaluate_compat(evidence) if compat else evaluate(evidence, enabled_gateways)
    evaluated, categories = _categories(evidence, compat)
    counts = {outcome.value: sum(e.outcome is outcome for e in evidence) for outcome in Outcome}
    penalties = _penalties(counts)
    ungated = max(0, sum(categories.values()) - sum(p.points for p in penalties))
    failed = any(g.state == FAILED for g in gateways)
    if failed:
        categories = dict.fromkeys(MAXIMA, 0)
        penalties = [Penalty("GATEWAY", "Gateway check failed - score zeroed", GATEWAY_POINTS)]
    complete = len(evaluated) == len(MAXIMA) and all(g.passed is not None for g in gateways)
    return QualificationScore(
        model_id=model_id,
        raw_score=0 if failed else ungated,
        ungated_raw=ungated,
        gateways=gateways,
        categories=categories,
        categories_evaluated=evaluated,
        counts=counts,
        penalties=penalties,
        scope=_scope(evidence),
        incomplete=not compat and not complete,
        compat=compat,
    )


def _categories(evidence: Sequence[Evidence], compat: bool) -> tuple[list[str], dict[str, int]]:
    passed, total = dict.fromkeys(MAXIMA, 0), dict.fromkeys(MAXIMA, 0)
    for entry in evidence:
        if entry.outcome is Outcome.SKIPPED and not compat:
            continue
        category = category_of(entry.gate_id)
        total[category] += 1
        passed[category] += not entry.outcome.failed
    evaluated = [name for name in MAXIMA if total[name]]
    # What was not run is not proven: no points for a category without evidence.
    values = {
        name: points(passed[name], total[name], maximum) if total[name] or compat else 0
        for name, maximum in MAXIMA.items()
    }
    return evaluated, values


def _penalties(counts: dict[str, int]) -> list[Penalty]:
    penalties = []
    if crashes := counts["Crashed"]:
        penalties.append(Penalty("CRASH", f"{crashes} crash(es) detected", CRASH_POINTS * crashes))
    if timeouts := counts["Timeout"]:
        penalties.append(Penalty("TIMEOUT", f"{timeouts} timeout(s) detected", TIMEOUT_POINTS * timeouts))
    return penalties


AXES = {"formats": "format", "backends": "backend", "modalities": "modality"}  # name in the scope -> scenario field


def _scope(evidence: Sequence[Evidence]) -> dict[str, Any]:
    """What was asked for and what was really tried, per format, backend, modality and cell of the three."""
    asked: dict[str, set[str]] = {name: set() for name in (*AXES, "cells")}
    tested: dict[str, set[str]] = {name: set() for name in asked}
    for entry in evidence:
        place = {name: str(value) for name, axis in AXES.items() if (value := entry.scenario.get(axis))}
        if len(place) == len(AXES):
            place["cells"] = "-".join(place.values())
        for name, value in place.items():
            asked[name].add(value)
            if entry.outcome is not Outcome.SKIPPED:
                tested[name].add(value)
    return {name: {"asked": sorted(asked[name]), "tested": sorted(tested[name])} for name in asked}
