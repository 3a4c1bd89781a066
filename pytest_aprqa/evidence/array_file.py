"""Writes evidence.json, the array of a run's entries, from the log: valid against the schema, whole or not there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.log import read_log
from pytest_aprqa.evidence.record import Evidence, canonical_json
from pytest_aprqa.evidence.validation import validate

LOG_NAME, ARRAY_NAME = "evidence.jsonl", "evidence.json"


def evidence_array(evidence: Sequence[Evidence]) -> str:
    """The entries as a JSON array, two spaces deep, in the spelling of the log. EvidenceError: breaks the schema."""
    document = [json.loads(canonical_json(entry)) for entry in evidence]
    validate(document)
    return json.dumps(document, indent=2) + "\n"


def write_evidence_json(folder: Path, evidence: Sequence[Evidence] | None = None) -> Path:
    """Write FOLDER/evidence.json from EVIDENCE, or from the log of the folder. EvidenceError: disk, log or schema."""
    text = evidence_array(read_log(folder / LOG_NAME) if evidence is None else evidence)
    target = folder / ARRAY_NAME
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{ARRAY_NAME}-", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise EvidenceError(f"{target}: cannot be written: {error.strerror}; free some space") from None
    return target
