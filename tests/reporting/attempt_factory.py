"""Entries of evidence for the tests of reports and commands, each different from a plain pass in what a test names."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.score import QualificationScore, score

TIMESTAMP = "2026-03-01T10:00:00+00:00"


def scenario(**changes: Any) -> dict[str, Any]:
    """The scenario block of a cell `gguf-cpu-chat`."""
    return {
        "id": "S-1",
        "model": {"org": "example", "name": "Tiny-1B", "variant": None},
        "modality": "chat",
        "backend": "cpu",
        "format": "gguf",
        "prompt": "What is 2+2?",
        "temperature": 0.0,
        "max_tokens": 32,
        "seed": 1,
        "trace_level": "none",
        "oracle_type": None,
    } | changes


def attempt(outcome: str = "Corroborated", *, reason: str = "", **changes: Any) -> Evidence:
    """One entry; OUTCOME chooses the constructor, `cell` sets format-backend-modality, further fields as given."""
    cell = changes.pop("cell", ("gguf", "cpu", "chat"))
    place = dict(zip(("format", "backend", "modality"), cell, strict=True))
    name = "-".join(part for part in cell if part)
    check = changes.pop("check", "test_output_is_not_garbage")
    common: dict[str, Any] = {
        "gate_id": "G4-GARBAGE-001",
        "scenario": scenario(**(place | changes.pop("scenario", {}))),
        "duration_ms": 1500,
        "host": {"hostname": "here", "os": "Linux", "cpu": "x86_64", "gpu": None, "apr_version": None},
        "playbook": "tiny-mvp",
        "node_id": f"tiny-mvp.playbook.yaml::{check}" + (f"[{name}]" if name else ""),
        "check": check,
        "title": "The output is text.",
        "severity": "P0",
        "gateway": "G4",
        "timestamp": TIMESTAMP,
    } | changes
    if outcome == "Corroborated":
        return Evidence.corroborated(**common)
    if outcome == "Falsified":
        return Evidence.falsified(reason or "found garbage", **common)
    if outcome == "Skipped":
        return Evidence.skipped(reason or "no GPU in this machine", **common)
    if outcome == "Timeout":
        limit = common.pop("duration_ms")
        return Evidence.timeout(limit, **common)
    stderr = common.pop("stderr", "Segmentation fault")
    return Evidence.crashed(common.pop("exit_code", -11), stderr, **common)


def scored(entries: list[Evidence]) -> QualificationScore | None:
    """The score; None where there is nothing to score."""
    try:
        return score(entries, model_id="example/Tiny-1B")
    except EmptyEvidence:
        return None


def small_run() -> list[Evidence]:
    """Four outcomes in one run: pass, failure at G0, crash by signal 11, skipped gpu cell."""
    return [
        attempt(),
        attempt(
            "Falsified",
            reason="model.gguf: blk.0.attn_q.weight: 1 NaN of 65536 values",
            cell=("gguf", None, None),
            check="test_tensor_values_are_sound",
            gate_id="G0-VALIDATE-001",
            gateway="G0",
            title="Every tensor is free of NaN.",
            observed=[{"name": "damaged_tensors", "value": 1, "limit": 0, "unit": "", "passed": False}],
            advice="convert the model again",
            artifact={"format": "gguf", "path": "/m/model.gguf", "sha256": "ab" * 32, "origin": "derived"},
        ),
        attempt("Crashed", gate_id="G3-STABLE", gateway="G3", check="test_engine_survives"),
        attempt("Skipped", cell=("gguf", "gpu", "chat")),
    ]
