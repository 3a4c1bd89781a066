"""`.provenance.json` beside a model: where it came from and what was made of it (gates.md 13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError

PROVENANCE_FILE = ".provenance.json"


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The document, or None if there is no file. ModelError if it is not a JSON object with a `source`."""
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(path, "file", f"is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("source"), dict):
        raise ModelError(path, "source", "is missing", advice="write source{format, path, sha256}")
    return document
