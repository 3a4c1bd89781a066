"""SARIF, CSV and what GitHub shows: valid for any text, the same bytes every time, nothing that anybody runs."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.reporting.evidence_csv import COLUMNS, evidence_csv
from pytest_aprqa.reporting.github_actions import MOST, SUMMARY_LIMIT, step_summary, workflow_annotations
from pytest_aprqa.reporting.sarif import report_sarif
from tests.reporting.attempt_factory import attempt, small_run


def failure(**changes):
    return attempt("Falsified", **changes)


def test_sarif_has_a_rule_per_gate_and_a_result_per_failure():
    document = json.loads(report_sarif(small_run()))
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["G0-VALIDATE-001", "G3-STABLE"]
    first = run["results"][0]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "G0-VALIDATE-001"
    assert first["level"] == "error"
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "model.gguf"
    assert "What to do: convert the model again" in first["message"]["text"]


def test_sarif_of_a_clean_run_has_no_result():
    assert json.loads(report_sarif([attempt()]))["runs"][0]["results"] == []


@given(st.text(max_size=60))
def test_any_text_gives_valid_documents(text):
    entry = failure(gate_id=text or "x", reason=text, output=text, advice=text, playbook=text, check=text)
    (run,) = json.loads(report_sarif([entry]))["runs"]
    assert run["results"][0]["message"]["text"]
    rows = list(csv.reader(io.StringIO(evidence_csv([entry]), newline="")))
    assert [len(row) for row in rows] == [len(COLUMNS)] * 2
    assert not [cell for cell in rows[1] if cell.startswith(("=", "+", "-", "@", "\t"))]
    lines = workflow_annotations([entry])
    assert all("\n" not in line and line.startswith("::") for line in lines)
    assert len(lines) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula(start):
    (row,) = csv.DictReader(io.StringIO(evidence_csv([failure(reason=f"{start}cmd|x")]), newline=""))
    assert row["reason"] == f"'{start}cmd|x"


def test_workflow_commands_cannot_be_injected():
    (line,) = workflow_annotations([failure(reason="a\n::set-output name=x::y", gate_id="g,b:c")])
    assert line.count("\n") == 0
    assert "title=g%2Cb%3Ac" in line


@pytest.mark.parametrize(
    ("node_id", "place"),
    [
        ("playbooks/a.playbook.yaml::test_x[gguf]", "file=playbooks/a.playbook.yaml,line=1,"),
        ("a,b%.playbook.yaml::test_x", "file=a%2Cb%25.playbook.yaml,line=1,"),
        ("/models/a.playbook.yaml::test_x", ""),
        ("../a.playbook.yaml::test_x", ""),
        ("tests/test_a.py::test_x", ""),
        (None, ""),
    ],
)
def test_an_annotation_stands_at_the_playbook_inside_the_repository(node_id, place):
    (line,) = workflow_annotations([failure(node_id=node_id)])
    assert line.startswith(f"::error {place}title=")


@pytest.mark.parametrize(("count", "lines"), [(MOST, MOST), (MOST + 1, MOST + 1), (MOST + 9, MOST + 1)])
def test_annotations_end_where_github_stops_showing_them(count, lines):
    found = workflow_annotations([failure(check=f"c{n}") for n in range(count)])
    assert len(found) == lines
    assert ("more failures" in found[-1]) is (count > MOST)


@pytest.mark.parametrize(("length", "cut"), [(SUMMARY_LIMIT, False), (SUMMARY_LIMIT + 1, True)])
def test_summary_is_cut_at_githubs_limit(length, cut):
    text = ("é" * 50 + "\n") * (length // 101 + 1)
    text = text.encode()[: length - 1].decode(errors="ignore")
    text += "\n" * (length - len(text.encode()))
    shown = step_summary(text)
    assert (shown != text) is cut
    assert len(shown.encode()) <= SUMMARY_LIMIT
