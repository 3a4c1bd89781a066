"""What a workflow on GitHub shows of a run: annotations in its log, and the summary page of the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import by_cause, case_name, outcome_of, severity_of
from pytest_aprqa.reporting.hostile_text import clipped, one_line

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

MOST = 10  # GitHub shows ten annotations of a level and step
SUMMARY_LIMIT = 1_000_000  # bytes; GitHub refuses more than 1 MiB
MESSAGE_LIMIT = 1_000
_LEVELS = {"P0": "error", "P1": "error", "P2": "warning"}


def workflow_annotations(evidence: Sequence[Evidence]) -> list[str]:
    """Workflow commands, one per failure, the most telling first; no text of a model can become a command."""
    failures = by_cause(evidence)
    lines = []
    for entry in failures[:MOST]:
        title = _property(f"{entry.gate_id} {case_name(entry)}")
        message = _message(f"{entry.reason or outcome_of(entry)}{f'; {entry.advice}' if entry.advice else ''}")
        place = f"file={_property(file)},line=1," if (file := _playbook_file(entry)) else ""
        lines.append(f"::{_LEVELS.get(severity_of(entry), 'notice')} {place}title={title}::{message}")
    if len(failures) > MOST:
        lines.append(f"::notice title=pytest-aprqa::{len(failures) - MOST} more failures are in report.html")
    return lines


def _playbook_file(entry: Evidence) -> str | None:
    """The playbook as its node id names it, relative to the repository; None for any other."""
    file = (entry.node_id or "").partition("::")[0]
    inside = file.endswith(".playbook.yaml") and not file.startswith(("/", "..")) and ":" not in file
    return file if inside else None


def step_summary(report_markdown: str) -> str:
    """report.md as the summary of the job; cut at GitHub's limit between two lines."""
    data = report_markdown.encode()
    if len(data) <= SUMMARY_LIMIT:
        return report_markdown
    note = "\n\nThe report is longer than GitHub shows: see report.html.\n"
    kept = data[: SUMMARY_LIMIT - len(note)].decode(errors="ignore")
    return kept[: kept.rfind("\n")] + note


def _message(text: str) -> str:
    return one_line(clipped(text, MESSAGE_LIMIT)).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
