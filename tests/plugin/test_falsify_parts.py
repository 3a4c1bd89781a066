"""Parts of `--falsify` without pytest around them: the base that is chosen, and the verdict on what the gates said."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from pytest_aprqa.defects.expectations import Expectation
from pytest_aprqa.falsify.bases import OWN_MODEL_LIMIT, base_of
from pytest_aprqa.falsify.checks import Attempt
from pytest_aprqa.falsify.faults import FAULTS
from pytest_aprqa.falsify.gates import NEEDS, NOT_CONFIGURED, RECORDS, gates_left_out, gates_of_suite
from pytest_aprqa.falsify.verdict import is_answered, judged, survival_text
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.playbooks.loading import load_playbook
from tests.plugin.conftest import REPOSITORY

FOLDER = Path("/nowhere/model")
EXPECTED = Expectation(("I-4", "G0-*"), "scaled by", ("G4-?",))


@pytest.fixture(scope="module")
def playbook():
    return load_playbook(REPOSITORY / "playbooks/models/qwen-coder-mvp.playbook.yaml")


def attempt(gate, cause, outcome="Falsified"):
    return Attempt(gate, f"test_{gate}", outcome, cause, [])


def model_of(folder, size):
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.truncate(size)
    return folder


def test_a_small_model_of_the_playbook_is_the_base(playbook, tmp_path):
    folder = model_of(tmp_path / "small", OWN_MODEL_LIMIT)
    base = base_of(playbook, lambda: folder)
    assert base.folder == folder
    assert base.playbook is playbook


def test_a_larger_one_gives_way_to_the_bundled_model_and_the_playbook_keeps_its_switches(playbook, tmp_path):
    folder = model_of(tmp_path / "large", OWN_MODEL_LIMIT + 1)
    base = base_of(playbook, lambda: folder)
    assert base.folder.name == "tiny-qwen2"
    assert base.playbook.gates == playbook.gates
    assert base.playbook.name == playbook.name
    assert "64 MiB of weights, limit 64 MiB" in base.note


@pytest.mark.parametrize("error", [ModelError("x", "model", "is not here"), OSError("no such folder")])
def test_without_the_playbooks_model_the_bundled_one_is_used(playbook, error):
    def missing():
        raise error

    assert "is not here" in base_of(playbook, missing).note


def test_the_right_gate_with_the_right_words_kills():
    tried = [attempt("I-2", "", "Corroborated"), attempt("G4-X", "garbage"), attempt("I-4", f"{FOLDER}/a: scaled by 2")]
    verdict = judged(tried, EXPECTED, FOLDER)
    assert verdict["verdict"] == "killed"
    assert (verdict["killed_by"], verdict["cause"]) == ("I-4", "a: scaled by 2")
    assert [one["gate"] for one in verdict["also"]] == ["G4-X"]
    assert is_answered(tried, EXPECTED)


@pytest.mark.parametrize(
    ("tried", "verdict"),
    [
        ([], "survived"),
        ([attempt("I-4", "scaled by 2", "Skipped")], "survived"),
        ([attempt("I-4", "scaled by 2", "Corroborated")], "survived"),
        ([attempt("I-4", "another order"), attempt("G4-X", "")], "wrong cause"),
        ([attempt("I-2", "scaled by 2"), attempt("G4-X", "")], "wrong cause"),
        ([attempt("I-4", "scaled by 2")], "wrong cause"),
        ([attempt("G0-ANY", "Scaled By 2", "Crashed"), attempt("G4-X", "", "Timeout")], "killed"),
    ],
)
def test_nothing_less_counts(tried, verdict):
    result = judged(tried, EXPECTED, FOLDER)
    assert result["verdict"] == verdict
    assert is_answered(tried, EXPECTED) is (verdict == "killed")


def test_each_way_of_surviving_has_its_sentence():
    def text(*tried):
        return survival_text({"name": "n", "title": "t", **judged(tried, EXPECTED, FOLDER)})

    assert "survived: no gate refuted it; expected I-4 or G0-* with a cause like /scaled by/; tried none" in text()
    assert "refuted, but not for the right cause" in text(attempt("I-2", "lost"))
    assert "found I-2: lost" in text(attempt("I-2", "lost"))
    assert "was named by I-4, but G4-? did not see" in text(attempt("I-4", "scaled by 2"))


def test_long_causes_are_cut_and_faults_are_told_apart():
    assert len(judged([attempt("I-4", "scaled by " + "x" * 5000)], EXPECTED, FOLDER)["cause"]) == 600
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(fault.target.rpartition(":")[2].isidentifier() for fault in FAULTS)


def test_every_check_is_a_column_or_left_out_with_a_reason(pytestconfig):
    columns, left_out = gates_of_suite(pytestconfig), gates_left_out(pytestconfig)
    names = [row["check"] for row in (*columns, *left_out)]
    assert len(names) == len(set(names))
    assert len(columns) >= 80
    assert not set(names) & set(RECORDS), "a record is no gate"
    assert not [row for row in left_out if row["reason"] == NOT_CONFIGURED], "a block without a reason"


def test_the_reference_lists_records_apart_from_the_gates():
    page = (REPOSITORY / "docs/reference/checks.md").read_text(encoding="utf-8")
    gates, records = page.split("## Records, not gates", 1)
    for name in RECORDS:
        assert f"`{name}`" not in gates
        assert f"`{name}`" in records
    assert records.count("| `F-") == len(RECORDS)


def test_records_do_nothing_but_skip(pytestconfig):
    from pytest_aprqa.collection import checks_namespace

    for name in RECORDS:
        (function,) = ast.parse(inspect.getsource(getattr(checks_namespace(pytestconfig), name))).body
        _, last = function.body  # the docstring, and
        assert ast.unparse(last).startswith("pytest.skip("), name


def test_the_tests_that_reasons_name_see_those_gates_fail(pytestconfig):
    rows = [row for row in gates_left_out(pytestconfig) if row["reason"] in NEEDS.values()]
    assert len(rows) >= 10
    for row in rows:
        file = REPOSITORY / "tests/plugin" / row["reason"].rpartition(" in ")[2]
        text = file.read_text(encoding="utf-8")
        assert row["gate"].rsplit("-", 1)[0] in text, f"{row['gate']} is nowhere in {file.name}"
