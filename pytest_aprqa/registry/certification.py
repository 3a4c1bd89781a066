"""What a run does to the row of its model: score, status, grade, tier, gateways and speeds, by the seed's rules."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_aprqa.registry.row import GATEWAYS, PROVEN_TIERS, SPEEDS, RegistryRow

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

_FORMATS = {"gguf": "gguf", "apr": "apr", "safetensors": "st"}


def certified(
    row: RegistryRow,
    evidence: Sequence[Evidence],
    score: QualificationScore,
    *,
    tier: str,
    threshold: int,
    when: str,
) -> RegistryRow:
    """The row after a run. `threshold`: raw score that the tier asks for; `when`: RFC 3339, UTC.

    The tier is recorded only when its threshold is met and nothing blocks; a speed that was not measured stays as it
    was, for a missing value is not 0.0.
    """
    facts = score.to_dict()
    status, raw = str(facts["status"]), int(facts["raw_score"])
    proven = tier if status != "BLOCKED" and raw >= threshold else "none"
    gateways = {str(gateway["id"]): gateway["passed"] is True for gateway in facts["gateways"]}
    return row.changed(
        status=status,
        mqs_score=str(raw),
        grade=str(facts["grade"]),
        certified_tier=_better(row["certified_tier"], proven, blocked=status == "BLOCKED"),
        last_certified=when,
        **{name: str(gateways.get(name.upper(), False)).lower() for name in GATEWAYS},
        **{name: f"{speed:.1f}" for name, speed in speeds_of(evidence).items()},
    )


def moment(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time (UTC where it names no zone); minus infinity for any other text."""
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return float("-inf")
    zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()


def _better(old: str, new: str, *, blocked: bool) -> str:
    if blocked or old not in PROVEN_TIERS:
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
