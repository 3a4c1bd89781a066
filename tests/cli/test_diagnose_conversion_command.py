"""`aprqa diagnose-conversion`: five lines, exit 0 only when all five pass."""

import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.conversion_diagnosis import INVARIANTS, Diagnosis, InvariantLine, _line, _quantised_is_kept, _told_by
from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.lifecycle.conversion_paths import convert
from tests.plugin.conftest import TINY_MODEL


def test_a_damaged_conversion_fails_in_the_line_of_its_invariant(tmp_path, capsys):
    source = convert(TINY_MODEL, ["gguf"], tmp_path / "work")
    clean = convert(source, ["apr"], tmp_path / "clean")
    broken = apply_defect("apr-tensor-scaled", clean, tmp_path / "broken.apr")
    assert call(["diagnose-conversion", str(source), str(broken), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "FAIL"
    outcomes = {line["invariant"]: line["outcome"] for line in answer["invariants"]}
    assert list(outcomes) == ["I-1", "I-2", "I-3", "I-4", "I-5"]
    assert {i: outcomes[i] for i in ("I-2", "I-3", "I-5")} == dict.fromkeys(("I-2", "I-3", "I-5"), "PASS")
    assert outcomes["I-4"] == "FAIL"
    reason = next(line["reason"] for line in answer["invariants"] if line["invariant"] == "I-4")
    assert "scaled" in reason


def test_a_declaration_that_no_invariant_compares_fails_i_1(tmp_path, capsys):
    """Five lines that pass say nothing of a file that another gate refutes."""
    source = convert(TINY_MODEL, ["gguf"], tmp_path / "work")
    clean = convert(source, ["apr"], tmp_path / "clean")
    broken = apply_defect("apr-context-wrong", clean, tmp_path / "broken.apr")
    assert call(["diagnose-conversion", str(source), str(broken), "--json"]) == 1
    lines = {line["invariant"]: line for line in json.loads(capsys.readouterr().out)["invariants"]}
    assert lines["I-1"]["outcome"] == "FAIL"
    assert "max_position_embeddings: 64" in lines["I-1"]["reason"]


@pytest.mark.parametrize(
    ("gate", "invariant"),
    [
        ("F-CONTRACT-I4-001", None), ("G0-INTEGRITY-SOURCE", "I-1"), ("F-HFP-001", "I-1"), ("G1-LOAD-001", "I-1"),
        ("F-LAYOUT-CONTRACT-005", "I-1"), ("F-LAYOUT-CONTRACT-001", "I-2"), ("G0-TENSOR-001", "I-2"),
        ("F-DATA-QUALITY-003", "I-4"), ("G0-VALIDATE-001", "I-4"), ("G1-TOKENIZER-001", "I-5"),
    ],
)  # fmt: skip
def test_every_gate_is_told_by_one_line(gate, invariant):
    assert _told_by(gate) == invariant


def test_our_own_conversion_of_a_gguf_passes_all_five(tmp_path, capsys):
    source = convert(TINY_MODEL, ["gguf"], tmp_path)
    assert call(["diagnose-conversion", str(source)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:6]] == [["PASS", f"I-{n}"] for n in range(1, 6)]
    assert lines[-1] == "verdict: PASS"


def test_no_file_is_wrong_use(capsys):
    assert call(["diagnose-conversion"]) == 2
    assert call(["diagnose-conversion", "absent.gguf"]) == 2


@pytest.mark.parametrize(
    ("outcomes", "verdict", "code"),
    [("PPPPP", "PASS", 0), ("PPSPP", "INCOMPLETE", 1), ("PSFPP", "FAIL", 1), ("", "INCOMPLETE", 1)],
)
def test_any_skip_is_incomplete_and_any_failure_fails(outcomes, verdict, code):
    words = {"P": "PASS", "S": "SKIP", "F": "FAIL"}
    lines = [InvariantLine(i, "", words[o], "") for i, o in zip(INVARIANTS, outcomes, strict=False)]
    diagnosis = Diagnosis("a", "b", lines)
    assert (diagnosis.verdict, diagnosis.exit_code) == (verdict, code)


def test_what_was_not_tried_is_skipped_with_its_reason():
    row = {"gate": "F-CONTRACT-I1-001", "reason": "blocked: no engine"}
    line = _line("I-1", {"findings": [], "tried": [], "not_tried": [row]})
    assert (line.outcome, line.reason) == ("SKIP", "blocked: no engine")


def test_a_quantised_source_that_became_float_fails_i_3(tmp_path):
    converted = convert(TINY_MODEL, ["apr"], tmp_path)
    passed = InvariantLine("I-3", "No silent fallbacks", "PASS", "")
    assert _quantised_is_kept(passed, "Q4_K", converted).outcome == "FAIL"
    assert _quantised_is_kept(passed, "BF16", converted) is passed
