"""Validates evidence.json against the committed JSON Schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pytest_aprqa.evidence.errors import EvidenceError

SCHEMA_FILE = Path(__file__).with_name("schema.json")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def validate(document: Any) -> None:
    """EvidenceError naming the first entry and field that break the schema."""
    for error in _validator().iter_errors(document):
        where = "/".join(str(part) for part in error.absolute_path) or "document"
        raise EvidenceError(f"evidence: {where}: {error.message[:300]}")
