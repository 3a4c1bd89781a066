"""report.sarif: the failures of a run in the format that code scanning reads (SARIF 2.1.0)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_aprqa.reporting.attempts import by_cause, case_name, format_of, model_of, outcome_of, severity_of
from pytest_aprqa.reporting.hostile_text import one_line

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"P0": "error", "P1": "error", "P2": "warning"}
MESSAGE_LIMIT = 2_000


def report_sarif(evidence: Sequence[Evidence]) -> str:
    """One result per failure, one rule per gate. Same input, same bytes; valid for any text of a model."""
    failures = by_cause(evidence)
    gates = sorted({entry.gate_id for entry in failures})
    numbers = {gate: number for number, gate in enumerate(gates)}
    titles = {entry.gate_id: entry.title or entry.gate_id for entry in reversed(failures)}
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pytest-aprqa",
                        "rules": [
                            {"id": _text(gate), "shortDescription": {"text": _text(titles[gate])}} for gate in gates
                        ],
                    }
                },
                "results": [_result(entry, numbers[entry.gate_id]) for entry in failures],
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _result(entry: Evidence, rule: int) -> dict[str, Any]:
    advice = f" What to do: {entry.advice}" if entry.advice else ""
    fields = {"format": format_of(entry), "outcome": outcome_of(entry), "severity": severity_of(entry)}
    return {
        "ruleId": _text(entry.gate_id),
        "ruleIndex": rule,
        "level": LEVELS.get(severity_of(entry), "note"),
        "message": {"text": _text(f"{case_name(entry)}: {entry.reason or outcome_of(entry)}.{advice}")},
        # Code scanning asks for a line; what is wrong with a binary file stands in the message.
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(entry)}, "region": {"startLine": 1}}}],
        "partialFingerprints": {"aprqaAttempt/v1": _fingerprint(entry)},
        "properties": {name: _text(str(value)) for name, value in fields.items() if value},
    }


def _fingerprint(entry: Evidence) -> str:
    """The same for the same check of the same cell and model in another run, so that a finding is not told twice."""
    parts = (model_of(entry), entry.playbook or "", case_name(entry), entry.gate_id)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _uri(entry: Evidence) -> str:
    """The file under test by its name; the playbook where a check is of no file. Folders of this machine stay out."""
    path = str((entry.artifact or {}).get("path") or "")
    name = PurePath(path).name if path else f"{entry.playbook or 'evidence'}.playbook.yaml"
    return quote(name.encode("utf-8", "backslashreplace"), safe="") or "evidence"


def _text(text: str) -> str:
    return one_line(text, MESSAGE_LIMIT) or "-"
