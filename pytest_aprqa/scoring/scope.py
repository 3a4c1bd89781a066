"""What a score is about: the formats, backends, modalities and cells asked for, and those that were really tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.rules import rules

AXES: dict[str, str] = dict(rules()["scope"]["axes"])  # name in the scope -> field of the scenario
_LEFT_OUT_BY = tuple(rules()["scope"]["left_out_by"])


def scope_of(evidence: Sequence[Evidence]) -> dict[str, Any]:
    """{axis or `cells`: {asked: [...], tested: [...]}}, each list sorted."""
    asked: dict[str, set[str]] = {name: set() for name in (*AXES, "cells")}
    tested: dict[str, set[str]] = {name: set() for name in asked}
    for entry in evidence:
        place = _place(entry)
        if len(place) == len(AXES):
            place["cells"] = "-".join(place.values())
        for name, value in place.items():
            asked[name].add(value)
            if entry.outcome is not Outcome.SKIPPED:
                tested[name].add(value)
    return {name: {"asked": sorted(asked[name]), "tested": sorted(tested[name])} for name in asked}


def outside_scope(evidence: Sequence[Evidence], scope: dict[str, Any]) -> set[int]:
    """Positions of skipped entries in a format, backend or modality of which nothing ran, or left out by the tier."""
    tested = {name: set(scope[name]["tested"]) for name in AXES}
    return {
        position
        for position, entry in enumerate(evidence)
        if entry.outcome is Outcome.SKIPPED
        and (
            entry.reason.startswith(_LEFT_OUT_BY)
            or any(value not in tested[name] for name, value in _place(entry).items())
        )
    }


def _place(entry: Evidence) -> dict[str, str]:
    return {name: str(value) for name, axis in AXES.items() if (value := entry.scenario.get(axis))}
