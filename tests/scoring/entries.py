"""Entries of evidence for the tests of scores, as short as the examples of the specification."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.evidence.collection_record import CHECK, SKIPPED_BY
from pytest_aprqa.evidence.record import Evidence

GATEWAYS = ("G0-INTEGRITY-CONFIG", "G1-LOAD-001", "G2-BASIC", "G3-STABLE", "G4-GARBAGE-001")
ONE_OF_EACH_CATEGORY = ("F-QUAL-001", "F-PERF-001", "F-STAB-001", "F-COMP-001", "F-EDGE-001", "F-REGR-001")


def scenario(**changes: Any) -> dict[str, Any]:
    return {"id": "S", "model": {"org": "example", "name": "tiny", "variant": None}} | changes


def passed(gate_id: str, **fields: Any) -> Evidence:
    return Evidence.corroborated(**({"gate_id": gate_id, "scenario": scenario(), "output": "4"} | fields))


def failed(gate_id: str, reason: str = "refuted", **fields: Any) -> Evidence:
    return Evidence.falsified(reason, **({"gate_id": gate_id, "scenario": scenario(), "output": "5"} | fields))


def timed_out(gate_id: str, limit_ms: int = 1000) -> Evidence:
    return Evidence.timeout(limit_ms, gate_id=gate_id, scenario=scenario())


def crashed(gate_id: str, exit_code: int = -11, stderr: str = "") -> Evidence:
    return Evidence.crashed(exit_code, stderr, gate_id=gate_id, scenario=scenario())


def skipped(gate_id: str, **fields: Any) -> Evidence:
    return Evidence.skipped("no GPU", **({"gate_id": gate_id, "scenario": scenario()} | fields))


def not_applicable(gate_id: str, **fields: Any) -> Evidence:
    """Skipped by the check itself, as a run records it."""
    return skipped(gate_id, **({"metadata": {SKIPPED_BY: CHECK}} | fields))


def complete_run() -> list[Evidence]:
    """Every gateway and every category has a pass: 1000 points."""
    return [passed(gate_id) for gate_id in (*GATEWAYS, *ONE_OF_EACH_CATEGORY)]
