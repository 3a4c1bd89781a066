"""checklist.md: from the first failure of a run, what to look at and in which order. From evidence and score alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import broken_limits, by_cause, case_name, outcome_of, severity_of
from pytest_aprqa.reporting.hostile_text import markdown_code, markdown_text
from pytest_aprqa.scoring.falsification import hypothesis_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

REASON_LIMIT = 300  # characters
OTHERS = 10  # other failures that are named


def checklist(evidence: Sequence[Evidence], score: QualificationScore | None) -> str | None:
    """The page, gateways and P0 first; None where nothing failed."""
    failures = by_cause(evidence)
    if not failures:
        return None
    first, others = failures[0], failures[1:]
    verdict = "no score" if score is None else f"{score.raw_score}/1000, {score.grade}, {score.status}"
    lines = [
        f"# Checklist: {markdown_code(first.gate_id)} {markdown_text(case_name(first))}",
        "",
        f"Score: {verdict}.",
        "",
        "## What was refuted",
        "",
        f"- Hypothesis: {markdown_text(first.title or hypothesis_of(first.gate_id), REASON_LIMIT)}",
        f"- Outcome: {outcome_of(first)}, {markdown_text(severity_of(first))}",
        f"- Found: {markdown_text(first.reason, REASON_LIMIT)}",
        *[f"- Limit: {markdown_text(limit, REASON_LIMIT)}" for limit in broken_limits(first)[:3]],
        "",
        "## What to do",
        "",
        *[f"- [ ] {markdown_text(step, REASON_LIMIT)}" for step in _steps(first)],
    ]
    if others:
        lines += ["", "## Other failures, which may have the same cause", ""]
        lines += [f"- {markdown_code(entry.gate_id)} {markdown_text(case_name(entry))}" for entry in others[:OTHERS]]
        lines += [f"- ... and {len(others) - OTHERS} more"] if len(others) > OTHERS else []
    return "\n".join(lines) + "\n"


def _steps(entry: Evidence) -> list[str]:
    steps = [entry.advice] if entry.advice else []
    artifact = entry.artifact or {}
    if artifact.get("path"):
        steps.append(f"aprqa inspect {artifact['path']}: does it declare what it should?")
    if entry.invariant or entry.gate_id.startswith(("F-CONV", "F-CONTRACT")):
        steps.append("aprqa check FILE --against SOURCE: which tensor differs first?")
    if entry.node_id:
        steps.append(f"run it alone: pytest {entry.node_id}")
    return steps
