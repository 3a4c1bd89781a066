"""Tickets: grouped, ordered, deduplicated by a stable key, and safe for any text of a model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import pytest_aprqa
from pytest_aprqa.defects.catalogue import DEFECTS
from pytest_aprqa.reporting.ticket_causes import NOTES, cause_of
from pytest_aprqa.reporting.tickets import TITLE_LIMIT, tickets
from tests.reporting.attempt_factory import attempt, small_run


def failure(**changes):
    return attempt("Falsified", **changes)


def test_passes_and_skips_make_no_ticket():
    assert tickets([attempt(), attempt("Skipped")]) == []


def test_one_ticket_a_gate_most_urgent_first():
    entries = [
        failure(gate_id="F-EDGE-002", gateway=None, severity="P2"),
        failure(gate_id="F-PERF-001", gateway=None, severity="P1"),
        *small_run(),
        failure(gate_id="F-PERF-001", gateway=None, severity="P1"),
    ]
    found = tickets(entries)
    assert [(t.priority, t.occurrences) for t in found] == [("P0", 1), ("P0", 1), ("P1", 2), ("P2", 1)]
    by_title = {t.title: t for t in found}
    crash = by_title["[QA] G3-STABLE: Crash failure in chat mode"]
    assert "black-swan" in crash.labels
    assert "Segmentation fault" in crash.body
    assert "performance" in by_title["[QA] F-PERF-001: Assertion failure in chat mode"].labels
    assert "edge-case" in by_title["[QA] F-EDGE-002: Assertion failure in chat mode"].labels


@pytest.mark.parametrize(("minimum", "count"), [(1, 2), (2, 1), (3, 0)])
def test_rare_failures_can_be_left_out(minimum, count):
    entries = [failure(gate_id="A"), failure(gate_id="A"), failure(gate_id="B")]
    assert len(tickets(entries, min_occurrences=minimum)) == count


def test_black_swans_are_groups_with_a_crash_in_any_place():
    entries = [failure(gate_id="A"), attempt("Crashed", gate_id="A"), failure(gate_id="B")]
    assert [t.title for t in tickets(entries, black_swans_only=True)] == ["[QA] A: Assertion failure in chat mode"]


# the table of gates.md 7.3, with its tests
@pytest.mark.parametrize(
    ("stderr", "code", "cause"),
    [
        ("Tensor name mismatch: blk.0", 1, "tensor_name_mismatch"),
        ("1 tensors are missing: model.norm.weight", 1, "tensor_name_mismatch"),
        ("found NaN in block", 1, "dequantization_failure"),
        ("missing tokenizer.json", 1, "missing_artifact"),
        ("No such file or directory", 1, "missing_artifact"),
        ("vocab_size 5 != 6", 1, "config_metadata_mismatch"),
        ("SIGSEGV in forward pass", 1, "inference_failure"),
        ("", -11, "inference_failure"),
        ("financial report", 1, "unknown"),
        ("", 1, "unknown"),
    ],
)
def test_cause_is_the_first_rule_that_matches(stderr, code, cause):
    assert cause_of(attempt("Crashed", stderr=stderr, exit_code=code, reason="it ended")) == cause


def test_tickets_by_cause_count_over_gates():
    entries = [failure(gate_id=gate, reason="vocab_size 5 != 6") for gate in ("A", "B")]
    (ticket,) = tickets(entries, by_cause=True)
    assert ticket.title == "[QA] A: config_metadata_mismatch (2 occurrences)"
    assert "failure-type:config_metadata_mismatch" in ticket.labels


def test_a_structured_ticket_says_what_its_cause_is_and_how_to_seed_it():
    entries = [failure(gate_id=gate, reason="vocab_size 5 != 6") for gate in ("B", "A")]
    (ticket,) = tickets(entries, by_cause=True)
    assert "## Root cause" in ticket.body
    assert "`test_configuration_matches_tensors`" in ticket.body
    assert "aprqa defects apply config-hidden-size-wrong SOURCE TARGET" in ticket.body
    assert "Gates: `A`, `B`" in ticket.body
    (unknown,) = tickets([failure(reason="?")], by_cause=True)
    assert "## Root cause" not in unknown.body
    assert "Root cause" not in tickets(entries)[0].body


@pytest.mark.parametrize("cause", sorted(NOTES))
def test_notes_name_checks_and_defects_that_exist(cause):
    suite = Path(pytest_aprqa.__file__).parent / "suite"
    checks = {
        name for file in suite.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    assert set(NOTES[cause].checks) <= checks
    assert NOTES[cause].defect in DEFECTS


def test_the_same_fault_has_the_same_key_in_another_run():
    first, second = (tickets([failure(reason=text)])[0] for text in ("one", "two"))
    assert first.key == second.key
    assert first.key != tickets([failure(gate_id="other")])[0].key
    assert f"aprqa-ticket: {first.key}" in first.body


def test_command_is_one_quoted_line():
    (ticket,) = tickets([failure(gate_id="`rm -rf`; $(x) 'q'")])
    line = ticket.command("a/b", "body.md")
    assert "\n" not in line
    assert shlex.split(line)[:6] == ["gh", "issue", "create", "--repo", "a/b", "--title"]
    assert shlex.split(line)[6] == ticket.title


@given(st.text(max_size=300))
def test_any_text_gives_a_body_without_foreign_markup_and_a_short_title(text):
    (ticket,) = tickets([failure(gate_id=text or "x", reason=text, output=text, title=text, advice=text)])
    assert len(ticket.title) <= TITLE_LIMIT
    assert "\n" not in ticket.title
    html = MarkdownIt("commonmark", {"html": True}).render(ticket.body)
    assert html.count("<h2>") == ticket.body.count("\n## ") + 1
    assert "<script" not in html
    assert "<img" not in html
