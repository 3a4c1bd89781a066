"""The kill matrix as data, terminal lines, picture and report: right sums, nothing hostile gets through."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from pytest_aprqa.reporting.kill_matrix import column_of, matrix_document, matrix_lines, refuting_gates, same_gate
from pytest_aprqa.reporting.kill_matrix_files import kill_matrix_html, kill_matrix_markdown, write_kill_matrix
from pytest_aprqa.reporting.kill_matrix_picture import picture

SVG = "{http://www.w3.org/2000/svg}"
GATES = [
    {"gate": "G0-FILE", "check": "test_file", "group": "G0", "title": "The file opens."},
    {"gate": "F-{category}-001", "check": "test_answer", "group": "", "title": "Answers."},
    {"gate": "I-9", "check": "test_idle", "group": "I-9", "title": "Never fires."},
]
HOSTILE = '<script>alert("x")</script>\x1b[31m & | `\u202e'


def defect(name, verdict="killed", killed_by="G0-FILE", cause="cut short", also=(), **more):
    also = [{"gate": gate, "check": "test", "cause": text} for gate, text in also]
    found = {"kind": "defect", "name": name, "title": "t", "origin": "owner/repo#1", "verdict": verdict}
    return found | {"killed_by": killed_by if verdict == "killed" else None, "cause": cause, "also": also} | more


def clean(name, verdict="accepted", rejected_by=()):
    return {"kind": "clean", "name": name, "verdict": verdict, "rejected_by": list(rejected_by)}


@pytest.fixture
def document():
    rejected = clean("clean-0002", "rejected", [{"gate": "G0-FILE", "check": "test_file", "cause": "too long"}])
    results = [
        defect("b-cut", also=[("F-A1-001", "wrong sum")]),
        defect("a-lost", cause="missing"),
        defect("c-seen", "wrong cause", cause="", also=[("F-A1-001", "no text")]),
        defect("d-unseen", "survived", cause=""),
        defect("e-elsewhere", "not applicable", cause="one layer"),
        clean("clean-0001"),
        rejected,
        clean("clean-0003", "not tried"),
    ]
    return matrix_document(results, GATES)


def test_gates_left_out_are_said_and_count_nowhere(document):
    row = {"gate": "F-SKIP", "check": "test_skip", "reason": "it only skips"}
    with_row = matrix_document([defect("a-lost", also=[("F-SKIP", "no")])], GATES, [row])
    assert with_row["left_out"] == [row]
    assert "F-SKIP" not in with_row["kills_nothing"] + [one["gate"] for one in with_row["gates"]]
    assert document["left_out"] == []


def test_sums_gates_and_clean_models(document):
    assert document["totals"] == {"killed": 2, "wrong cause": 1, "survived": 1, "not applicable": 1}
    assert [one["name"] for one in document["defects"]] == ["a-lost", "b-cut", "c-seen", "d-unseen", "e-elsewhere"]
    kills = {row["gate"]: row["kills"] for row in document["gates"]}
    assert kills == {"G0-FILE": ["a-lost", "b-cut"], "F-{category}-001": ["b-cut", "c-seen"], "I-9": []}
    assert document["kills_nothing"] == ["I-9"]
    assert document["clean"]["tried"] == 2
    assert [one["name"] for one in document["clean"]["rejected"]] == ["clean-0002"]
    assert document["clean"]["not_tried"] == ["clean-0003"]
    json.dumps(document)


@pytest.mark.parametrize(
    ("pattern", "gate", "same"),
    [
        ("G0-FILE", "G0-FILE", True),
        ("G0-FILE", "G0-FILE-2", False),
        ("F-{category}-001", "F-A1-001", True),
        ("F-{category}-001", "F-CONTRACT-I1-001", False),
        ("F-CONV-{conversion}", "F-CONV-gguf-apr", True),
        ("F-CONV-{conversion}", "F-CONV-", False),
        ("F.1", "FX1", False),
    ],
)
def test_gates_of_marks_and_gates_of_evidence(pattern, gate, same):
    assert same_gate(pattern, gate) is same


def test_a_gate_of_its_own_goes_before_a_placeholder():
    gates = ["F-CONV-{conversion}", "F-CONV-CARD-001", "F-CONV-{conversion}"]
    assert column_of(gates, "F-CONV-CARD-001") == "F-CONV-CARD-001"
    assert column_of(gates, "F-CONV-S-A") == "F-CONV-{conversion}"
    assert column_of(gates, "ELSE") is None


def test_first_gate_is_the_one_that_names_the_cause():
    one = defect("x", also=[("Z", ""), ("G0-FILE", "again"), ("Z", "")])
    assert refuting_gates(one) == ["G0-FILE", "Z"]


def test_lines_name_each_defect_under_its_gate_and_fit(document):
    lines = [text for text, _ in matrix_lines(document, 60)]
    assert lines[:3] == ["G0-FILE kills 2", "  a-lost       missing", "  b-cut        cut short"]
    assert "wrong cause: 1" in lines
    assert "  c-seen       F-A1-001: no text" in lines
    assert "  d-unseen     no gate refuted it" in lines
    assert "not applicable to this model: 1" in lines
    assert "clean model clean-0002 rejected: G0-FILE: too long" in lines
    assert lines[-2:] == [
        "2 of 4 defects killed by a gate that names the right cause",
        "1 of 2 clean models rejected",
    ]
    assert all(len(line) <= 60 for line in lines if not line.startswith("gates that"))


@pytest.mark.parametrize(("width", "cut"), [(200, False), (50, True)])
def test_long_causes_are_cut_unless_asked_for(width, cut):
    document = matrix_document([defect("x", cause="word " * 30)], GATES)
    assert matrix_lines(document, width)[1][0].endswith("...") is cut
    assert not matrix_lines(document, 50, verbose=True)[1][0].endswith("...")


def test_idle_gates_are_named_when_everything_was_tried(document):
    idle = "gates that kill nothing here: I-9"
    assert idle in [text for text, _ in matrix_lines(document, 60)]
    assert idle not in [text for text, _ in matrix_lines(document, 60, whole=False)]


def test_nothing_tried_is_not_green():
    marks = dict(matrix_lines(matrix_document([], GATES), 80))
    assert marks["0 of 0 defects killed by a gate that names the right cause"].get("red")
    assert marks["0 of 0 clean models rejected"].get("yellow")


def test_picture_has_a_row_and_a_column_for_everything_that_counts(document):
    root = ElementTree.fromstring(picture(document))
    labels = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert any(label.endswith("a-lost") for label in labels)
    assert not any("e-elsewhere" in label for label in labels), "a defect that cannot happen here has no row"
    assert "I-9" not in labels, "a gate that never fires has no column"
    circles = [circle.get("class") for circle in root.iter(f"{SVG}circle")]
    assert sorted(circles) == ["also", "also", "kill", "kill"]
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style
    assert "http" not in picture(document).replace("http://www.w3.org/2000/svg", "")


def test_hostile_text_is_shown_and_never_markup(document, tmp_path):
    document["defects"][0] |= {"name": HOSTILE, "cause": HOSTILE, "origin": HOSTILE, "title": HOSTILE}
    root = ElementTree.fromstring(picture(document))
    assert not list(root.iter(f"{SVG}script"))
    page = kill_matrix_html(document)
    assert "<script>" not in page
    assert "\x1b" not in page + picture(document)
    markdown = kill_matrix_markdown(document, with_picture=True)
    assert "<script>" not in markdown
    assert all(line.count("|") == 5 for line in markdown.splitlines() if line.startswith("| "))
    assert not any("\x1b" in text or "\u202e" in text for text, _ in matrix_lines(document, 80))
    names = {path.name for path in write_kill_matrix(tmp_path, document)}
    assert names == {"kill_matrix.json", "kill_matrix.svg", "report.md", "report.html"}
    assert json.loads((tmp_path / "kill_matrix.json").read_text())["totals"] == document["totals"]


def test_names_of_gates_end_below_the_two_lines_above_them(document):
    """A turned name begins at its y and goes up by its length, 6.62 pixels a character in DejaVu Sans Mono."""
    root = ElementTree.fromstring(picture(document))
    lines = [float(text.get("y")) for text in root.findall(f"{SVG}text")[:2]]
    turned = root.findall(f"{SVG}g")
    assert turned
    for group in turned:
        start = float(re.search(r"translate\([\d.]+ ([\d.]+)\)", group.get("transform"))[1])
        assert start - 6.62 * len("".join(group.itertext())) > max(lines) + 2


def test_an_empty_matrix_has_a_picture():
    assert ElementTree.fromstring(picture(matrix_document([], GATES))).tag == f"{SVG}svg"
