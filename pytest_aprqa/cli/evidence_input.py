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


def read_evidence(given: Path) -> EvidenceInput:
    """Read evidence from a file or a run folder, in execution order; what is odd is said on standard error.

    EvidenceError: unreadable, not evidence, or a field of a type that no report could show.
    """
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.evidence.collection_record import in_execution_order, last_of_each_item
    from pytest_aprqa.evidence.errors import EvidenceError
    from pytest_aprqa.evidence.log import read_json, read_log
    from pytest_aprqa.reporting.collector_pause import without_collector

    path = evidence_file(given)
    try:
        with working(f"reading {path.name}"), without_collector():
            content = read_log(path) if path.suffix == ".jsonl" else read_json(path)
    except (TypeError, ValueError) as error:
        if isinstance(error, EvidenceError):
            raise
        raise EvidenceError(f"{path}: an entry has a field of the wrong type: {error}") from None
    for number, entry in enumerate(content):
        if problem := _shape_problem(entry):
            raise EvidenceError(f"{path}: entry {number}: {problem}")
    entries, left_out = last_of_each_item(list(content))
    warnings = list(content.warnings)
    if left_out:
        warnings.append(f"{path}: {left_out} entries of earlier runs of the same items left out")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return EvidenceInput(path, in_execution_order(entries), warnings)


LONGEST_MS = 1e15  # of an attempt; reports add up whole milliseconds


def _shape_problem(entry: Evidence) -> str | None:
    """What would make a report stumble over this entry, besides the types that reading it has checked."""
    duration = entry.metrics.get("duration_ms")
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < LONGEST_MS:
        return f"field metrics.duration_ms: not a number of milliseconds (found {duration!r})"
    return None
