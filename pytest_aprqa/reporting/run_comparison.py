"""Two runs side by side: what got better, what got worse, what is new or gone; by item, from evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import CORROBORATED, SKIPPED, case_name, failed, outcome_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

WORSE, BETTER, NEW_FAILURE, GONE, NOT_RUN, NOW_RUN = (
    "worse",
    "better",
    "new failure",
    "gone",
    "no longer run",
    "now run",
)
ORDER = (WORSE, NEW_FAILURE, NOT_RUN, GONE, BETTER, NOW_RUN)


@dataclass(frozen=True, slots=True)
class Difference:
    """One item whose outcome is another: `kind` is one of ORDER; outcomes are None where the item is not in a run."""

    kind: str
    item: str
    gate: str
    before: str | None
    after: str | None
    reason: str


def compare_runs(before: Sequence[Evidence], after: Sequence[Evidence]) -> list[Difference]:
    """Differences, the worrying ones first, then by item. An item that is no longer run is a worry too."""
    old, new = _by_item(before), _by_item(after)
    found = [_difference(name, old.get(name), new.get(name)) for name in {*old, *new}]
    return sorted((d for d in found if d is not None), key=lambda d: (ORDER.index(d.kind), d.item, d.gate))


def _by_item(evidence: Sequence[Evidence]) -> dict[tuple[str, str, str], Evidence]:
    """Entries by (playbook, item, gate): the same in runs of other folders and machines."""
    return {(entry.playbook or "", case_name(entry), entry.gate_id): entry for entry in evidence}


def _difference(name: tuple[str, str, str], old: Evidence | None, new: Evidence | None) -> Difference | None:
    kind = _kind(old, new)
    if kind is None:
        return None
    last = new or old
    assert last is not None
    playbook, item, gate = name
    return Difference(
        kind,
        f"{playbook}::{item}" if playbook else item,
        gate,
        outcome_of(old) if old else None,
        outcome_of(new) if new else None,
        last.reason or "",
    )


def _kind(old: Evidence | None, new: Evidence | None) -> str | None:
    if new is None:
        return GONE if old is not None and outcome_of(old) != SKIPPED else None
    if old is None:
        return NEW_FAILURE if failed(new) else None
    before, after = outcome_of(old), outcome_of(new)
    if failed(new):
        return None if failed(old) else WORSE
    if after == SKIPPED:
        return NOT_RUN if before != SKIPPED else None
    if failed(old):
        return BETTER
    return NOW_RUN if before == SKIPPED and after == CORROBORATED else None
