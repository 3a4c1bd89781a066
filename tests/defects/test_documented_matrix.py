"""The documented kill matrix knows every defect and fault, and no other; none survived, and no gate is idle."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from pytest_aprqa.defects.catalogue import DEFECTS
from pytest_aprqa.falsify.faults import CONVERTER_DEFECTS, FAULTS
from pytest_aprqa.falsify.gates import RECORDS
from pytest_aprqa.falsify.record_lies import LIES
from pytest_aprqa.reporting.kill_matrix import matrix_document

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "reference/kill-matrix.md"


def rows():
    text = PAGE.read_text(encoding="utf-8").split("## Defects", 1)[1]
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("|` "): row for row in cells}


def test_every_defect_has_its_row():
    wanted = {
        *DEFECTS,
        *(f"engine-{fault.name}" for fault in FAULTS),
        *(f"converter-{name}" for name in CONVERTER_DEFECTS),
        *(f"record-{lie.name}" for lie in LIES),
    }
    assert set(rows()) == wanted, "run pytest --falsify and python docs/capture_kill_matrix.py evidence/latest"


def test_a_gate_killed_each_of_them():
    survived = [name for name, row in rows().items() if not re.search(r"`(G\d|F|PROV)-", row[2])]
    assert survived == []


def test_every_gate_kills_a_defect_or_is_left_out_with_a_reason():
    text = PAGE.read_text(encoding="utf-8")
    gates, left_out = text.split("## Gates", 1)[1].split("## Defects", 1)[0].split("Gates that no seeded defect", 1)
    kills = re.findall(r"^\| (?:`|<code>)\S+(?:`|</code>) \| (\d+) \| `\w+` \|$", gates, re.MULTILINE)
    assert len(kills) >= 80
    assert "0" not in kills
    assert "gates that kill nothing" not in text
    reasons = re.findall(r"^\| `\S+` \| `(\w+)` \| (.+) \|$", left_out, re.MULTILINE)
    assert reasons
    assert all(reason.strip() for _, reason in reasons)


def test_records_are_not_among_the_gates():
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in RECORDS if f"`{name}`" in text]
    row = {"gate": "F-SKIP-001", "check": "test_declared_skip", "reason": "it only skips"}
    older = matrix_document([], [], [row, row | {"check": "test_other"}])
    page = capture().page(older)
    assert "`test_other`" in page
    assert "`test_declared_skip`" not in page


def test_no_clean_model_of_at_least_200_was_rejected():
    (rejected, tried), *others = re.findall(
        r"^- (\d+) of (\d+) clean models rejected$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert not others
    assert int(rejected) == 0
    assert int(tried) >= 200


def capture():
    spec = importlib.util.spec_from_file_location("capture_kill_matrix", DOCS / "capture_kill_matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part(*results, gate="G0"):
    left_out = [{"gate": "F-SKIP", "check": "test_skip", "reason": "it only skips"}]
    return matrix_document(results, [{"gate": gate, "check": "test_it", "group": "", "title": "t"}], left_out)


def found(name, verdict):
    killer = "G0" if verdict == "killed" else None
    return {"kind": "defect", "name": name, "verdict": verdict, "killed_by": killer, "cause": "c", "also": []}


def test_runs_of_parts_become_one_matrix_and_what_was_tried_last_counts():
    rejected = {"kind": "clean", "name": "clean-1", "verdict": "rejected", "rejected_by": []}
    accepted = {"kind": "clean", "name": "clean-2", "verdict": "accepted"}
    first = part(found("a", "survived"), found("b", "killed"), rejected, accepted)
    again = part(found("a", "killed"), rejected | {"name": "clean-3"})
    matrix = capture().joined([first, again])
    assert matrix["totals"] == {"killed": 2}
    assert matrix["gates"][0]["kills"] == ["a", "b"]
    assert matrix["clean"]["names"] == ["clean-1", "clean-2", "clean-3"]
    assert [one["name"] for one in matrix["clean"]["rejected"]] == ["clean-1", "clean-3"]
    assert matrix["left_out"][0]["reason"] == "it only skips"
    assert capture().joined([again, first])["totals"] == {"killed": 1, "survived": 1}


def test_runs_of_another_suite_are_not_joined():
    with pytest.raises(SystemExit, match="other gates"):
        capture().joined([part(found("a", "killed")), part(found("a", "killed"), gate="G1")])
