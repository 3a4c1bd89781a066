"""Which version of a model a row is about: by the evidence of the run that wrote it, where that is still here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_aprqa.evidence.collection_record import DECLARATIONS_DIGEST, SOURCE_DIGEST
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.registry.certification import moment

LOGS = "evidence*.jsonl"  # that of the newest run, and those set aside by later ones


def is_another_version(evidence: Sequence[Evidence], folder: Path, last_certified: str) -> bool:
    """Whether EVIDENCE is of other weights or declarations than the run in FOLDER that a row was LAST CERTIFIED by.

    That run is the youngest that had begun by then. False where none of its evidence is here, or one does not tell.
    """
    runs = []
    for log in folder.glob(LOGS):
        with contextlib.suppress(OSError, ValueError):
            first = _first_that_tells(log)
            if first is not None and moment(first[0]) <= moment(last_certified):
                runs.append((moment(first[0]), log.name, first[1]))
    if not runs:
        return False
    return differ(max(runs, key=lambda run: run[:2])[2], version_of(evidence))


def version_of(evidence: Sequence[Evidence]) -> dict[str, str]:
    """Digests of the source's weights and declarations, as far as the evidence tells them."""
    return _version(entry.metadata for entry in evidence)


def differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two versions are told apart by a digest that both have."""
    return any(name in other and other[name] != digest for name, digest in one.items())


def _first_that_tells(log: Path) -> tuple[str, dict[str, str]] | None:
    """(time, version) of the first entry of a log that has one."""
    with log.open(encoding="utf-8") as stream:
        for line in stream:
            entry: Any = json.loads(line)
            metadata = entry.get("metadata") if isinstance(entry, dict) else None
            if isinstance(metadata, dict) and (version := _version([metadata])):
                return str(entry.get("timestamp")), version
    return None


def _version(metadata: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The digests of source and declarations, of the first that has each."""
    found: dict[str, str] = {}
    for one in metadata:
        for name in (SOURCE_DIGEST, DECLARATIONS_DIGEST):
            if name not in found and isinstance(one.get(name), str):
                found[name] = one[name]
        if len(found) == 2:
            break
    return found
