"""The report files of a run folder: evidence.json, mqs.json, junit.xml, report.md; whole or not there, never half."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.atomic_file import write_atomically

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

EVIDENCE, MQS, JUNIT, MARKDOWN = "evidence.json", "mqs.json", "junit.xml", "report.md"
REPORTS: dict[str, tuple[str, ...]] = {"json": (EVIDENCE, MQS), "junit": (JUNIT,), "md": (MARKDOWN,)}
ALL = (EVIDENCE, MQS, JUNIT, MARKDOWN)


def write_reports(
    folder: Path, evidence: Sequence[Evidence], score: QualificationScore | None, *, only: Collection[str] | None = None
) -> list[Path]:
    """Write the reports (all, or those named in ONLY) and return their paths. Same input, same bytes.

    Without a score there is no mqs.json, and one left by an earlier run is removed. OSError: folder not writable.
    """
    written = []
    for name in ALL:
        if only is not None and name not in only:
            continue
        text = report_text(name, evidence, score)
        if text is None:
            (folder / name).unlink(missing_ok=True)
            continue
        write_atomically(folder / name, text)
        written.append(folder / name)
    return written


def report_text(name: str, evidence: Sequence[Evidence], score: QualificationScore | None) -> str | None:
    """The content of one report file; None for mqs.json when there is no score."""
    if name == EVIDENCE:
        return evidence_json(evidence)
    if name == MQS:
        return None if score is None else json.dumps(score.to_dict(), indent=2) + "\n"
    if name == JUNIT:
        from pytest_aprqa.reporting.junit import junit_xml

        return junit_xml(evidence, score)
    from pytest_aprqa.reporting.markdown import report_markdown

    return report_markdown(evidence, score)


def evidence_json(evidence: Sequence[Evidence]) -> str:
    """The entries as a JSON array in execution order, two spaces deep."""
    from pytest_aprqa.evidence.record import plain

    # Plain values, so that numbers, paths and NaN are spelled as in the log; ASCII, so that a lone surrogate in a
    # model's output cannot make the file undecodable.
    return json.dumps([plain(entry.to_dict()) for entry in evidence], indent=2, sort_keys=True) + "\n"
