"""Evidence of one model as one object that can be published: what was run, the score, the gateways, every entry.

The form is scoring.md section 14; a pure function of evidence, so making it twice gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

SCHEMA = "https://paiml.com/schemas/apr-qa-evidence.schema.json"  # the name that readers of this form look for
VERSION = "1.0.0"
GATE_NAMES = {
    "G0": "G0-INTEGRITY",
    "G1": "G1-MODEL-LOADS",
    "G2": "G2-BASIC-INFERENCE",
    "G3": "G3-NO-CRASHES",
    "G4": "G4-OUTPUT-QUALITY",
}


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What an export says of its model and run beside the evidence. `size`: as published, `1.5b`."""

    hf_repo: str
    family: str
    size: str
    playbook: str
    tier: str


def file_name(hf_repo: str) -> str:
    """`Qwen/Qwen2.5-Coder-1.5B` gives `qwen-qwen2.5-coder-1.5b.json`."""
    return hf_repo.lower().replace("/", "-") + ".json"


def export_object(entries: Sequence[Evidence], score: QualificationScore, model: ExportedModel) -> dict[str, Any]:
    """The object. `pass_rate` is of all entries, so that what was skipped does not raise it; a gateway that nothing
    is known about has `passed` false, with the reason."""
    facts = score.to_dict()
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "model": {"hf_repo": model.hf_repo, "family": model.family, "size": model.size, "format": "safetensors"},
        "playbook": {"name": model.playbook, "version": VERSION, "tier": model.tier},
        "summary": {
            "total_scenarios": facts["total_tests"],
            "passed": facts["tests_passed"],
            "failed": facts["tests_failed"],
            "skipped": facts["tests_skipped"],
            "pass_rate": facts["tests_passed"] / facts["total_tests"],
            "duration_ms": _milliseconds(entries),
            "timestamp": last_timestamp(entries),
        },
        "mqs": {
            "score": facts["raw_score"],
            "grade": facts["grade"],
            "gateway_passed": facts["gateways_passed"],
            "category_scores": facts["categories"],
        },
        "gates": {GATE_NAMES[gateway["id"]]: _gate(gateway) for gateway in facts["gateways"]},
        "evidence": [json.loads(text) for text in _texts(entries)],
    }


def _gate(gateway: dict[str, Any]) -> dict[str, Any]:
    if gateway["passed"] is None:
        return {"passed": False, "reason": gateway["state"]}
    return {"passed": gateway["passed"], "reason": gateway["failure_reason"] or gateway["description"]}


def _texts(entries: Sequence[Evidence]) -> list[str]:
    from pytest_aprqa.evidence.record import canonical_json

    return [canonical_json(entry) for entry in entries]


def _milliseconds(entries: Sequence[Evidence]) -> int:
    values = [entry.metrics.get("duration_ms") for entry in entries]
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    return round(sum(numbers))


def last_timestamp(entries: Sequence[Evidence]) -> str:
    """RFC 3339 time of the youngest entry; empty without entries. An entry without a readable time does not count."""
    from pytest_aprqa.registry.certification import moment

    return max((entry.timestamp for entry in entries), key=moment, default="")
