"""What a run does to the row of its model: score, status, grade, tier, gateways and speeds, by the seed's rules."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_aprqa.evidence.collection_record import is_skipped_by_check, is_verification
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.registry.row import GATEWAYS, PROVEN_TIERS, SPEEDS, RegistryRow

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

_FORMATS = {"gguf": "gguf", "apr": "apr", "safetensors": "st"}
# The rules of a provenance record that have a check. PROV-004, there is no record, skips them all.
PROVENANCE_GATES = frozenset(f"PROV-00{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9))


def certified(
    row: RegistryRow,
    evidence: Sequence[Evidence],
    score: QualificationScore,
    *,
    tier: str,
    threshold: int,
    scenarios: int,
    when: str,
    speeds: bool = True,
    same_version: bool = True,
) -> RegistryRow:
    """The row after a run. `threshold`, `scenarios`: what the tier asks for; `when`: RFC 3339, UTC.

    The tier is recorded only when `tier_not_met` has nothing to say, and a better one of before is kept; a speed that
    was not measured stays as it was, for a missing value is not 0.0. Neither is kept where this run is of another
    version of the model (not `same_version`: other weights or declarations). Without `speeds` the row has none, an
    older one neither. Provenance is what this run proved, whatever an earlier one did.
    """
    facts = score.to_dict()
    status, raw = str(facts["status"]), int(facts["raw_score"])
    proven = "none" if tier_not_met(evidence, score, threshold=threshold, scenarios=scenarios) else tier
    measured = {name: f"{speed:.1f}" for name, speed in speeds_of(evidence).items()} if speeds else {}
    gateways = {str(gateway["id"]): gateway["passed"] is True for gateway in facts["gateways"]}
    return row.changed(
        status=status,
        mqs_score=str(raw),
        grade=str(facts["grade"]),
        certified_tier=_better(row["certified_tier"], proven, keep=status != "BLOCKED" and same_version),
        last_certified=when,
        provenance_verified=str(provenance_verified(evidence)).lower(),
        **{name: str(gateways.get(name.upper(), False)).lower() for name in GATEWAYS},
        **({} if speeds and same_version else dict.fromkeys(SPEEDS, "")) | measured,
    )


def tier_not_met(
    evidence: Sequence[Evidence], score: QualificationScore, *, threshold: int, scenarios: int
) -> str | None:
    """Why the run does not prove a tier that asks for a raw score of THRESHOLD and so many SCENARIOS; None: it does."""
    if score.status == "BLOCKED":
        return "; ".join(score.status_reasons[:1]) or "BLOCKED"
    if score.part is not None:
        return f"a part of the playbook: {score.part.found} of {score.part.expected or 'an unknown number of'} items"
    if score.raw_score < threshold:
        return f"below {threshold}"
    if unknown := [gateway.id for gateway in score.gateways if gateway.passed is None]:
        return f"nothing that ran says whether {', '.join(unknown)} holds"
    ran, skipped = scenario_counts(evidence)
    if ran < scenarios:
        more = f" ({skipped} more were skipped)" if skipped else ""
        return f"{ran} scenarios ran, the tier asks for {scenarios}{more}"
    return None


def scenario_counts(evidence: Sequence[Evidence]) -> tuple[int, int]:
    """(ran, skipped): distinct scenarios of the matrix, a prompt in a cell.

    Only those that ran count for a tier. Those that skipped themselves, for want of a GPU or outside a tier, are told
    beside them; what a mark or a user left out is in neither.
    """
    ran: set[tuple[str, ...]] = set()
    aside: set[tuple[str, ...]] = set()
    for entry in evidence:
        scenario = entry.scenario or {}
        name = tuple(str(scenario.get(part) or "") for part in ("format", "modality", "backend", "prompt"))
        if not all(name):
            continue  # a check of a file or of a cell is no scenario
        skipped = entry.outcome is Outcome.SKIPPED
        if skipped and not is_skipped_by_check(entry):
            continue
        (aside if skipped else ran).add((*name, str(scenario.get("id")), str(scenario.get("seed"))))
    return len(ran), len(aside - ran)


def provenance_verified(evidence: Sequence[Evidence]) -> bool:
    """Whether every rule of the provenance record was checked, in this run, and none was refuted or skipped."""
    entries = [entry for entry in evidence if entry.gate_id in PROVENANCE_GATES and not is_verification(entry)]
    ran = {entry.gate_id for entry in entries}
    return ran == PROVENANCE_GATES and all(entry.outcome is Outcome.CORROBORATED for entry in entries)


def moment(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time (UTC where it names no zone); minus infinity for any other text."""
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return float("-inf")
    zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()


def _better(old: str, new: str, *, keep: bool) -> str:
    if not keep or old not in PROVEN_TIERS:
        return new
    return max(old, new, key=PROVEN_TIERS.index)


def speeds_of(evidence: Sequence[Evidence]) -> dict[str, float]:
    """Median tokens per second of the answers of each (format, backend), by column; only what was measured."""
    found: dict[str, list[float]] = {}
    for entry in evidence:
        scenario = entry.scenario or {}
        speed = (entry.metrics or {}).get("tokens_per_second")
        column = f"tps_{_FORMATS.get(str(scenario.get('format')), '')}_{scenario.get('backend')}"
        if column in SPEEDS and isinstance(speed, (int, float)) and not isinstance(speed, bool) and speed > 0:
            found.setdefault(column, []).append(float(speed))
    return {column: statistics.median(found[column]) for column in SPEEDS if column in found}
