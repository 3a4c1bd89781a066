"""Checks of severity P0 outside the gateways: one that is refuted blocks, one of which nothing ran is not proven."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_aprqa.evidence.collection_record import is_skipped_by_check
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.gateways import gateway_of
from pytest_aprqa.scoring.rules import rules

_RULE = rules()["blocking"]
_PREFIXES = tuple(_RULE["without_severity"])


@dataclass(frozen=True, slots=True)
class Refutation:
    """A P0 gate that does not hold: how often it was refuted, and one reason (the first by alphabet)."""

    gate_id: str
    count: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain values."""
        return asdict(self)


def is_critical(entry: Evidence) -> bool:
    """Severity P0: declared, by the id, by an invariant (I-1 to I-5), or by the kind of gate where none is declared."""
    if (entry.severity or "").upper() == _RULE["severity"] or _RULE["id_part"] in entry.gate_id:
        return True
    if entry.invariant and _RULE["invariants_block"]:
        return True
    return entry.severity is None and entry.gate_id.startswith(_PREFIXES)


def is_expected_failure(entry: Evidence) -> bool:
    """Skipped by a mark xfail: the check failed, and its user had said so."""
    return entry.outcome is Outcome.SKIPPED and entry.reason.startswith(_RULE["expected_failure"])


def refutations(evidence: Sequence[Evidence]) -> list[Refutation]:
    """The refuted P0 gates, sorted by id. A gateway judges its own entries, except those excused by a mark xfail."""
    groups: dict[str, list[Evidence]] = {}
    for entry in evidence:
        if is_expected_failure(entry):
            blocks = gateway_of(entry) is not None or is_critical(entry)
        else:
            blocks = entry.outcome.failed and gateway_of(entry) is None and is_critical(entry)
        if blocks:
            groups.setdefault(entry.gate_id, []).append(entry)
    return [Refutation(gate, len(group), min(e.reason for e in group)) for gate, group in sorted(groups.items())]


def unproven_gates(evidence: Sequence[Evidence], outside_scope: Collection[int]) -> list[str]:
    """P0 gates of which nothing ran, and gates of P0 or a gateway of which somebody left out some; sorted.

    `outside_scope`: positions in EVIDENCE that do not count. Not left out is a check that skipped itself, or ran and
    was excused.
    """
    asked: set[str] = set()
    ran: set[str] = set()
    left_out: set[str] = set()
    for position, entry in enumerate(evidence):
        if position in outside_scope:
            continue
        of_gateway = gateway_of(entry) is not None
        if not of_gateway and not is_critical(entry):
            continue
        if entry.outcome is Outcome.SKIPPED and not is_skipped_by_check(entry) and not is_expected_failure(entry):
            left_out.add(entry.gate_id)
        if not of_gateway:
            asked.add(entry.gate_id)
            if entry.outcome is not Outcome.SKIPPED:
                ran.add(entry.gate_id)
    return sorted((asked - ran) | left_out)
