"""The Model Qualification Score, 0 to 1000: one code path for runs, re-scoring, registry and certificates."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pytest_aprqa.evidence.collection_record import (
    COLLECTION,
    PLUGIN_VERSION,
    SHARD,
    Completeness,
    completeness,
    is_skipped_by_check,
    is_verification,
)
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.blocking import Refutation, refutations, unproven_gates
from pytest_aprqa.scoring.categories import MAXIMA, category_of, points
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.gateways import FAILED, GatewayResult, evaluate, evaluate_compat
from pytest_aprqa.scoring.grades import band, fine_grade, grade, normalize
from pytest_aprqa.scoring.rules import rules
from pytest_aprqa.scoring.scope import outside_scope, scope_of
from pytest_aprqa.scoring.status import CERTIFIED_FROM, PROVISIONAL_FROM, status_of

RULES_VERSION = str(rules()["version"])
CRASH_POINTS = int(rules()["penalties"]["crash"])
TIMEOUT_POINTS = int(rules()["penalties"]["timeout"])
GATEWAY_POINTS = int(rules()["penalties"]["gateway"])
QUALIFIES_FROM = float(rules()["qualifies_from"])  # normalised
PRODUCTION_FROM = float(rules()["production_ready_from"])
VERIFICATION_COUNTS = frozenset(rules()["verification"]["counts"])  # outcomes
REASON_LIMIT = 300  # characters of a refutation's reason in one line of text


@dataclass(frozen=True, slots=True)
class Penalty:
    """Points taken off, and why."""

    code: str
    description: str
    points: int


@dataclass(frozen=True, slots=True)
class QualificationScore:
    """Everything in mqs.json. `categories` are zero when a gateway failed, `ungated_raw` says what they would give.

    What somebody left out of the tested scope counts as not passed (`left_out`: how many entries); a check that skipped
    itself counts nowhere. `proven_raw`: the raw score when these count as not passed too.
    """

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
    proven_raw: int | None = None
    left_out: int = 0
    refuted: list[Refutation] = field(default_factory=list)
    not_evaluated_gates: list[str] = field(default_factory=list)
    part: Completeness | None = None
    shards: tuple[str, ...] = ()

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
        return status_of(
            self.raw_score,
            gateways_passed=self.gateways_passed,
            complete=not self.incomplete,
            proven=self.proven_raw,
            blocked=bool(self.refuted),
        )

    @property
    def status_reasons(self) -> list[str]:
        """Why the status is not CERTIFIED, one line each, what blocks first; empty when it is."""
        if self.status == "CERTIFIED":
            return []
        found = [f"gateway {g.id} failed" for g in self.gateways if g.state == FAILED]
        for refuted in self.refuted:
            times = f" in {refuted.count} places" if refuted.count > 1 else ""
            found.append(f"P0 check {refuted.gate_id} refuted{times}: {_one_line(refuted.reason)}")
        if self.gateways_passed and self.raw_score < CERTIFIED_FROM:
            least = PROVISIONAL_FROM if self.raw_score < PROVISIONAL_FROM else CERTIFIED_FROM
            why = f"; {self.left_out} skipped entries count as not passed: not run is not proven"
            found.append(f"score {self.raw_score} is below {least}{why if self.left_out else ''}")
        elif self.gateways_passed and self.proven_raw is not None and self.proven_raw < CERTIFIED_FROM:
            found.append(f"only {self.proven_raw} points are proven, of {CERTIFIED_FROM}: the rest was skipped")
        if self.part is not None and not self.part.complete:
            of_all = "an unknown number of" if self.part.expected is None else str(self.part.expected)
            found.append(f"a part of the playbook: {self.part.found} of {of_all} items are recorded")
        if self.part is not None and self.shards:
            found.append(f"shard {', '.join(self.shards)}: only aprqa merge of all shards gives the verdict of the run")
        if self.incomplete:
            missing = self.not_evaluated_categories + self.not_evaluated_gateways + self.not_evaluated_gates
            found += ["no evidence for " + ", ".join(missing)] if missing else []
        return found

    @property
    def _sound(self) -> bool:
        return self.gateways_passed and not self.not_evaluated_gateways and not self.refuted and self.part is None

    @property
    def qualifies(self) -> bool:
        """A whole run, all gateways evaluated and passed, no P0 check refuted, normalised score at least 70."""
        return self._sound and self.normalized_score >= QUALIFIES_FROM

    @property
    def production_ready(self) -> bool:
        """A whole run, all gateways evaluated and passed, no P0 check refuted, normalised score at least 90."""
        return self._sound and self.normalized_score >= PRODUCTION_FROM

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
            "status_reasons": self.status_reasons,
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
            "not_evaluated_gates": list(self.not_evaluated_gates),
            "refuted": [r.to_dict() for r in self.refuted],
            "total_tests": sum(self.counts.values()),
            "tests_passed": passed,
            "tests_failed": failed,
            "tests_skipped": self.counts["Skipped"],
            "outcomes": dict(self.counts),
            "penalties": [{"code": p.code, "description": p.description, "points": p.points} for p in self.penalties],
            "total_penalty": sum(p.points for p in self.penalties),
            "ungated_raw": self.ungated_raw,
            "proven_raw": self.raw_score if self.proven_raw is None else self.proven_raw,
            "left_out": self.left_out,
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
    if not evidence:
        raise EmptyEvidence("there is no evidence: nothing was run, so nothing is proven")
    if all(map(is_verification, evidence)):
        raise EmptyEvidence(
            f"all {len(evidence)} entries are of tickets or specifications: no check of a model was run"
        )
    evidence = [e for e in evidence if not is_verification(e) or e.outcome.value in VERIFICATION_COUNTS]
    ran = [e for e in evidence if e.outcome is not Outcome.SKIPPED]
    if not ran and not compat:
        raise EmptyEvidence(f"all {len(evidence)} entries were skipped: nothing was run, so nothing is proven")
    gateways = evaluate_compat(evidence) if compat else evaluate(evidence, enabled_gateways)
    scope = scope_of(evidence)
    outside = outside_scope(evidence, scope)
    skipped = {n for n, e in enumerate(evidence) if e.outcome is Outcome.SKIPPED}
    nowhere = outside | {n for n in skipped if is_skipped_by_check(evidence[n])}
    evaluated, categories = _categories(evidence, compat, set() if compat else nowhere)
    counts = {outcome.value: sum(e.outcome is outcome for e in evidence) for outcome in Outcome}
    penalties = _penalties(counts)
    taken_off = sum(p.points for p in penalties)
    ungated = max(0, sum(categories.values()) - taken_off)
    proven = ungated if compat else max(0, sum(_categories(evidence, False, outside)[1].values()) - taken_off)
    failed = any(g.state == FAILED for g in gateways)
    if failed:
        categories = dict.fromkeys(MAXIMA, 0)
        penalties = [Penalty("GATEWAY", "Gateway check failed - score zeroed", GATEWAY_POINTS)]
    without_run = [] if compat else unproven_gates(evidence, outside)
    complete = len(evaluated) == len(MAXIMA) and all(g.passed is not None for g in gateways) and not without_run
    part = _part(evidence)
    return QualificationScore(
        model_id=model_id,
        raw_score=0 if failed else ungated,
        ungated_raw=ungated,
        gateways=gateways,
        categories=categories,
        categories_evaluated=evaluated,
        counts=counts,
        penalties=penalties,
        scope=scope,
        incomplete=not compat and not (complete and part is None),
        compat=compat,
        proven_raw=0 if failed else proven,
        left_out=0 if compat else len(skipped - nowhere),
        refuted=[] if compat else refutations(evidence),
        not_evaluated_gates=without_run,
        part=None if compat else part,
        shards=() if compat else _shards(evidence),
    )


def _part(evidence: Sequence[Evidence]) -> Completeness | None:
    """What is recorded of how many items, where the evidence is of a run of ours and not of all of its items.

    Shards are a part even where one has every item: whether they belong together is asked by the merge alone.
    """
    of_ours = any(COLLECTION in e.metadata or PLUGIN_VERSION in e.metadata or SHARD in e.metadata for e in evidence)
    if not rules()["selection"]["part_is_incomplete"] or not of_ours:
        return None
    found = completeness(evidence)
    return None if found.complete and not _shards(evidence) else found


def _shards(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """The shards that the evidence is of, sorted; `1/1` is a whole run, and merged evidence names none."""
    return tuple(sorted({shard for e in evidence if (shard := e.metadata.get(SHARD)) and shard != "1/1"}))


def _categories(evidence: Sequence[Evidence], compat: bool, left_out: Set[int]) -> tuple[list[str], dict[str, int]]:
    """Categories of which something ran, and the points of all. LEFT_OUT: skipped entries that count nowhere.

    Any other skipped entry is one that did not pass; with COMPAT it is one that did.
    """
    passed, total, ran = dict.fromkeys(MAXIMA, 0), dict.fromkeys(MAXIMA, 0), set()
    for position, entry in enumerate(evidence):
        if position in left_out:
            continue
        category = category_of(entry.gate_id)
        total[category] += 1
        skipped = entry.outcome is Outcome.SKIPPED
        passed[category] += compat if skipped else not entry.outcome.failed
        if compat or not skipped:
            ran.add(category)
    evaluated = [name for name in MAXIMA if name in ran]
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


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_LIMIT else line[: REASON_LIMIT - 3] + "..."
