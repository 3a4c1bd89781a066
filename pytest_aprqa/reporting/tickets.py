"""Tickets from evidence: one per gate, or one per root cause; ready for `gh issue create`, safe for any text.

Grouping, priority and labels: scoring.md section 8. A ticket with the same group key is one ticket, whoever made it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import (
    CRASHED,
    TIMEOUT,
    broken_limits,
    case_name,
    failed,
    format_of,
    model_of,
    outcome_of,
    scenario_field,
)
from pytest_aprqa.reporting.hostile_text import markdown_block, markdown_code, markdown_text, one_line
from pytest_aprqa.reporting.ticket_causes import cause_of, cause_section

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

BLOCK_LIMIT = 4_000  # characters of an output or of stderr in a body
TITLE_LIMIT = 200  # GitHub refuses titles of more than 256
PRIORITIES = ("P0", "P1", "P2", "P3")
_WORDS = {"P0": "P0-Critical", "P1": "P1-High", "P2": "P2-Medium", "P3": "P3-Low"}
_CATEGORIES = (("PERF", "performance"), ("STAB", "crash"), ("CRASH", "crash"), ("COMP", "compatibility"))
_MORE_CATEGORIES = (("EDGE", "edge-case"), ("REGR", "regression"))


@dataclass(frozen=True, slots=True)
class Ticket:
    """One issue to open. `key` is the same for the same fault, so that it is not opened twice."""

    key: str
    title: str
    body: str
    labels: tuple[str, ...]
    priority: str
    occurrences: int
    black_swan: bool

    def command(self, repository: str, body_file: str) -> str:
        """The `gh` command that opens it, quoted for a shell."""
        parts = ["gh", "issue", "create", "--repo", repository, "--title", self.title, "--body-file", body_file]
        for label in self.labels:
            parts += ["--label", label]
        return shlex.join(parts)


def tickets(
    evidence: Sequence[Evidence], *, by_cause: bool = False, black_swans_only: bool = False, min_occurrences: int = 1
) -> list[Ticket]:
    """Tickets of the failures, most urgent first; grouped by gate, or by root cause over all gates."""
    groups: dict[str, list[Evidence]] = {}
    for entry in evidence:
        if failed(entry):
            groups.setdefault(cause_of(entry) if by_cause else entry.gate_id, []).append(entry)
    made = [
        _ticket(key, entries, by_cause=by_cause)
        for key, entries in groups.items()
        if len(entries) >= min_occurrences
        and (not black_swans_only or any(outcome_of(entry) == CRASHED for entry in entries))
    ]
    return sorted(made, key=lambda ticket: (PRIORITIES.index(ticket.priority), ticket.key))


def _ticket(group: str, entries: list[Evidence], *, by_cause: bool) -> Ticket:
    first = entries[0]
    gate, modality = one_line(first.gate_id, 80), scenario_field(first, "modality") or "file"
    priority = min((_priority(entry) for entry in entries), key=PRIORITIES.index)
    black_swan = any(outcome_of(entry) == CRASHED for entry in entries)
    labels = [f"priority:{_WORDS[priority]}", "qa-automated"]
    if by_cause:
        title = f"[QA] {gate}: {group} ({len(entries)} occurrence{'' if len(entries) == 1 else 's'})"
        labels.append(f"failure-type:{group}")
    else:
        title = f"[QA] {gate}: {_kind(first)} failure in {one_line(modality, 40)} mode"
        labels += [_category(gate), f"modality:{one_line(modality, 40)}"]
        if backend := scenario_field(first, "backend"):
            labels.append(f"backend:{one_line(backend, 40)}")
    if black_swan:
        labels.append("black-swan")
    key = hashlib.sha256(f"{model_of(first)}\n{group}\n{by_cause}".encode("utf-8", "backslashreplace")).hexdigest()[:12]
    labels = [label.replace(",", " ") for label in labels]
    body = _body(key, entries, labels, group if by_cause else None)
    return Ticket(key, title[:TITLE_LIMIT], body, tuple(labels), priority, len(entries), black_swan)


def _priority(entry: Evidence) -> str:
    gate = entry.gate_id
    if outcome_of(entry) == CRASHED or "-P0-" in gate or gate.startswith("G") or entry.severity == "P0":
        return "P0"
    for priority in ("P1", "P2"):
        if f"-{priority}-" in gate or entry.severity == priority:
            return priority
    return "P3"


def _kind(entry: Evidence) -> str:
    return {CRASHED: "Crash", TIMEOUT: "Timeout"}.get(outcome_of(entry), "Assertion")


def _category(gate: str) -> str:
    return next((word for part, word in (*_CATEGORIES, *_MORE_CATEGORIES) if part in gate), "bug")


def _body(key: str, entries: list[Evidence], labels: list[str], cause: str | None) -> str:
    first = entries[0]
    scenario = first.scenario or {}
    details = [
        ("Gate", markdown_code(first.gate_id)),
        ("Model", markdown_text(model_of(first))),
        ("Format", markdown_text(format_of(first) or "all")),
        ("Backend", markdown_text(scenario_field(first, "backend") or "none")),
        ("Modality", markdown_text(scenario_field(first, "modality") or "none: the file itself")),
        ("Occurrences", str(len(entries))),
        ("Black swan", "yes" if any(outcome_of(entry) == CRASHED for entry in entries) else "no"),
    ]
    lines = ["## Summary", "", markdown_text(first.title or first.gate_id), "", markdown_text(first.reason or ""), ""]
    lines += ["## Details", "", *(f"- **{name}:** {value}" for name, value in details), ""]
    if cause is not None:
        gates = sorted({one_line(entry.gate_id, 80) for entry in entries})
        lines += [*cause_section(cause), f"Gates: {', '.join(markdown_code(gate) for gate in gates[:20])}", ""]
    if limits := broken_limits(first):
        lines += ["## Limits", "", *(f"- {markdown_text(limit)}" for limit in limits[:10]), ""]
    if scenario.get("prompt"):
        facts = [("Prompt", markdown_code(str(scenario["prompt"])))]
        facts += [
            (n.replace("_", " "), markdown_text(str(scenario.get(n)))) for n in ("seed", "temperature", "max_tokens")
        ]
        lines += ["## Scenario", "", *(f"- **{name}:** {value}" for name, value in facts), ""]
    for title, text in (("Output", first.output), ("Error", first.stderr)):
        if text:
            lines += [f"## {title}", "", markdown_block(text[:BLOCK_LIMIT]), ""]
    host = first.host or {}
    environment = ", ".join(str(host[name]) for name in ("os", "cpu", "gpu") if host.get(name))
    lines += ["## What to do", "", markdown_text(first.advice or "see the entry in evidence.json"), ""]
    lines += ["## Reproduction", "", markdown_block(_reproduction(first)), ""]
    lines += ["## Environment", "", markdown_text(environment or "not recorded"), ""]
    lines += ["## Labels", "", ", ".join(markdown_code(label) for label in labels), "", f"<!-- aprqa-ticket: {key} -->"]
    return "\n".join(lines) + "\n"


def _reproduction(entry: Evidence) -> str:
    playbook = entry.playbook or "PLAYBOOK"
    return shlex.join(["pytest", "--playbook", one_line(playbook), "-k", one_line(case_name(entry)).partition("[")[0]])
