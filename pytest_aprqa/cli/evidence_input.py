"""Find and read the evidence that a command was given: a run folder, evidence.jsonl or evidence.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

LOG_NAME, JSON_NAME = "evidence.jsonl", "evidence.json"


@dataclass(frozen=True, slots=True)
class EvidenceInput:
    """Evidence in execution order, the file it came from, and what was odd about the file."""

    path: Path
    entries: list[Evidence]
    warnings: list[str]

    @property
    def model_id(self) -> str:
        """The models named by the evidence, joined by commas."""
        from pytest_aprqa.reporting.attempts import model_of

        return ", ".join(sorted({model_of(entry) for entry in self.entries} - {""})) or "unknown"

    @property
    def folder(self) -> Path:
        """Where reports of this evidence belong."""
        return self.path.parent


def evidence_file(given: Path) -> Path:
    """The file to read: GIVEN itself, or in a folder the log, which is written first and is never out of date."""
    if not given.is_dir():
        return given
    for name in (LOG_NAME, JSON_NAME):
        if (given / name).is_file():
            return given / name
    raise click.ClickException(f"{given}: no {LOG_NAME} and no {JSON_NAME} in this folder; name the folder of a run")
