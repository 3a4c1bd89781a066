"""`.provenance.json` beside a model: where it came from and what was made of it (gates.md 13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError

PROVENANCE_FILE = ".provenance.json"
LARGEST = 1 << 20  # bytes


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The document, or None if there is no file. ModelError if it is not a JSON object with a `source`."""
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(path, "file", "is too large", found=path.stat().st_size, limit=LARGEST)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(path, "file", f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(path, "file", f"is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("source"), dict):
        raise ModelError(path, "source", "is missing", advice="write source{format, path, sha256}")
    return document


def write_provenance(folder: Path, document: dict[str, Any]) -> Path:
    """Write the document beside the model, whole or not at all. ModelError: no `source`, or not writable."""
    path = folder / PROVENANCE_FILE
    if not isinstance(document.get("source"), dict):
        raise ModelError(path, "source", "is missing", advice="write source{format, path, sha256}")
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ModelError(path, "file", f"cannot be written: {error.strerror or error}") from None
    return path
