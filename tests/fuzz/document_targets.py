"""Texts that people write or send: playbooks and the evidence of a run."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_aprqa.evidence.log import read_log
from pytest_aprqa.playbooks.loading import load_playbook
from tests.fuzz import mutations
from tests.fuzz.target import Seeds, Target

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def _playbook_seeds() -> Seeds:
    paths = sorted(PLAYBOOKS.rglob("*.playbook.yaml"), key=lambda path: path.stat().st_size)[-3:]
    return {path.name: (path.read_bytes(), mutations.lines) for path in paths}


def _evidence_seeds() -> Seeds:
    entry = {
        "id": "1", "gate_id": "F-A-001", "outcome": "Corroborated", "reason": "as expected", "output": "4",
        "metrics": {"duration_ms": 12, "tokens_per_second": 3.5}, "timestamp": "2026-01-02T03:04:05Z",
        "scenario": {"id": "s", "model": {"org": "o", "name": "n"}, "modality": "run", "backend": "cpu",
                     "format": "gguf", "prompt": "2+2", "seed": 1, "temperature": 0.0, "max_tokens": 8},
        "host": {}, "metadata": {}, "observed": [{"name": "n", "value": 1, "limit": 2, "passed": True}],
    }  # fmt: skip
    log = b"\n".join([json.dumps(entry).encode()] * 3) + b"\n"
    return {"log": (log, mutations.json_lines(log))}


def _read_playbook(path: Path) -> None:
    load_playbook(path)


def _read_evidence(path: Path) -> None:
    for entry in read_log(path):
        assert entry.gate_id is not None


DOCUMENT_TARGETS = {
    "playbook": Target("x.playbook.yaml", _playbook_seeds, _read_playbook),
    "evidence": Target("evidence.jsonl", _evidence_seeds, _read_evidence),
}
