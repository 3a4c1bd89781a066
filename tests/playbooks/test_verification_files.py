"""Tickets, hypotheses, gateway specifications and skip files: read, validated, and the committed ones as written."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.playbooks.conditions import parse_condition
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.facts import read_playbook_facts
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.lock import read_lock
from pytest_aprqa.playbooks.skips import declared_skips, skip_file
from pytest_aprqa.playbooks.validation import verification_schema
from pytest_aprqa.playbooks.verification import command_words, load_verification
from pytest_aprqa.playbooks.verification_texts import example_texts, skip_text
from tests.playbooks.playbook_texts import changed, load_data

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
FACTS = read_playbook_facts(PLAYBOOKS / "facts" / "playbooks.csv")
TICKET = """\
name: ticket-1
version: 1.0.0
description: something
reproduction:
  command: apr validate ${MODEL}
verification_gates:
  - id: V-TICKET-1-001
    description: nothing differs
    condition: exit_code == 0 && diff < 1e-6
    tool: diff
    args: ["${MODEL}"]
"""
SPECIFICATION = """\
spec: {id: G1, requirement: it loads}
scenarios:
  - name: inspect it
    command: apr inspect ${MODEL}
    expected: {exit_code: 0}
gate: {id: G1-LOAD, severity: P0}
"""


def written(folder: Path, text: str, name: str = "TICKET-1.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(example_texts()))
def test_committed_example_is_what_its_table_says_and_loads(name):
    path = PLAYBOOKS / name
    assert path.read_text(encoding="utf-8") == example_texts()[name]
    file = load_verification(path)
    if file is None:
        assert load_playbook(path).warnings == (), "a ticket with a model and a matrix is a model playbook"
        return
    assert file.trials
    assert all(trial.words or trial.reason or trial.judged for trial in file.trials)


def test_there_is_an_example_of_every_kind():
    kinds = [file.kind for name in example_texts() if (file := load_verification(PLAYBOOKS / name))]
    assert {kind: kinds.count(kind) for kind in kinds} == {"ticket": 2, "hypotheses": 1, "specification": 4}
    gates = {path.name[:10] for path in (PLAYBOOKS / "spec").iterdir()}
    assert gates == {"gateway-g1", "gateway-g2", "gateway-g3", "gateway-g4"}


def test_the_examples_command_sees_a_difference(tmp_path, capsys):
    assert call(["playbook", "examples", str(PLAYBOOKS), "--check"]) == 0
    assert call(["playbook", "examples", str(tmp_path)]) == 0
    (tmp_path / "verify" / "TICKET-901.yaml").write_text("other")
    assert call(["playbook", "examples", str(tmp_path), "--check"]) == 1
    assert "TICKET-901.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["ticket", "hypotheses", "specification", "skips"])
def test_the_schema_of_each_kind_is_a_schema(kind):
    jsonschema.Draft202012Validator.check_schema(verification_schema(kind))


@pytest.mark.parametrize(
    ("text", "old", "new", "place", "words"),
    [
        (TICKET, "description: something\n", "", "1:1: description", "is missing"),
        (
            TICKET,
            "condition: exit_code == 0 && diff < 1e-6",
            "condition: it works",
            "8:5: verification_gates[0].con",
            "no",
        ),
        (TICKET, "    tool: diff\n", "", "10:5", "unknown"),
        (TICKET, "id: V-TICKET-1-001", "id: no id", "7:5: verification_gates[0].id", "does not match"),
        (
            TICKET,
            "    tool: diff\n",
            "    tool: diff\n    gate: G1\n",
            "7:5: verification_gates[0]",
            "a gate and a tool",
        ),
        (TICKET, "version: 1.0.0", "version: 1.0.0\nverison: 2", "3:1: verison", "did you mean `version`"),
        (SPECIFICATION, "G1-LOAD", "G9-LOAD", "6:8: gate.id", "not an accepted word"),
        (SPECIFICATION, "exit_code: 0", "exit_code: none", "5:16: scenarios[0].expected.exit_code", "a whole number"),
        (SPECIFICATION, "exit_code: 0", "exit_cod: 0", "5:16: scenarios[0].expected.exit_cod", "did you mean"),
    ],
)
def test_a_fault_has_line_and_column(tmp_path, text, old, new, place, words):
    assert old in text
    path = written(tmp_path, text.replace(old, new, 1))
    if words == "unknown":  # neither tool nor gate
        place, words = "7:5: verification_gates[0]", "neither a gate nor a tool"
    elif words == "no":
        place, words = "9:5: verification_gates[0].condition", "is not a comparison"
    with pytest.raises(PlaybookError) as caught:
        load_verification(path)
    assert any(line.startswith(f"{path}:{place}") and words in line for line in caught.value.faults), (
        caught.value.faults
    )


def test_two_trials_of_one_id_are_refused(tmp_path):
    gate = TICKET[TICKET.index("  - id") :]
    with pytest.raises(PlaybookError, match=r":12:5: verification_gates\[1\].id: the id is there twice"):
        load_verification(written(tmp_path, TICKET + gate))


@pytest.mark.parametrize(
    ("command", "words", "reason"),
    [
        ("apr run ${MODEL} --prompt 'a b'", ("run", "${MODEL}", "--prompt", "a b"), None),
        ("apr run x | grep y", (), "needs a shell"),
        ("apr run $(id)", (), "needs a shell"),
        ("apr run x; rm y", (), "needs a shell"),
        ("rm -rf x", (), "not a command of the `apr` program"),
        ("/tmp/apr run", (), "not a command of the `apr` program"),
        ("apr 'run", (), "is no command"),
        ("", (), "not a command"),
    ],
)
def test_only_the_apr_program_is_run_and_no_shell(command, words, reason):
    found, why = command_words(command)
    assert found == words
    assert (why is None) if reason is None else reason in why


@pytest.mark.parametrize(
    ("text", "measured", "problem"),
    [
        ("diff < 1e-6", {"diff": 9.9e-7}, None),
        ("diff < 1e-6", {"diff": 1e-6}, "diff < 1e-06 does not hold: diff is 1e-06"),
        ("diff <= 1e-6", {"diff": 1e-6}, None),
        ("exit_code == 0 && diff < 1", {"exit_code": 1, "diff": 0}, "exit_code == 0 does not hold: exit_code is 1"),
        ("a == 1 || b == 1", {"a": 0, "b": 1}, None),
        ("a == 1 || b == 1", {"a": 0, "b": 0}, "a == 1 does not hold: a is 0"),
        ("a != 0 && a >= 2 && a > 1", {"a": 2}, None),
    ],
)
def test_conditions(text, measured, problem):
    assert parse_condition(text).problem({name: float(value) for name, value in measured.items()}) == problem


@pytest.mark.parametrize("text", ["", "a", "a < b", "1 < a", "a < 1 &&", "a = 1", "a < 1e", "__import__('os')"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ValueError, match="is not a comparison"):
        parse_condition(text)


def test_every_playbook_says_which_formats_it_leaves_out():
    for facts in FACTS:
        path = PLAYBOOKS / "models" / facts.file
        text = skip_text(facts)
        assert skip_file(path).is_file() is (text is not None)
        if text is not None:
            assert skip_file(path).read_text(encoding="utf-8") == text
            assert {skip.part for skip in declared_skips(path)} == {"gguf", "safetensors", "apr"} - set(facts.formats)
        assert load_playbook(path).implicit_skips == []


def test_a_format_that_nobody_names_is_an_implicit_skip(tmp_path):
    playbook = load_data(tmp_path, changed({"model.formats": ["safetensors", "gguf"]}))
    assert playbook.implicit_skips == ["apr"]
    (tmp_path / "small.skip.yaml").write_text(
        "- {format_or_backend: apr, reason: no converter, tracking_issue: '#7'}\n"
    )
    playbook = load_data(tmp_path, changed({"model.formats": ["safetensors", "gguf"]}))
    assert playbook.implicit_skips == []
    assert [str(skip) for skip in playbook.absent_parts] == ["apr is skipped on purpose: no converter (#7)"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a list of entries"),
        ("a: b\n", "must be a list of entries"),
        ("- {format_or_backend: onnx, reason: x}\n", ":1:4: [0].format_or_backend: is not an accepted word"),
        ("- {format_or_backend: apr}\n", ":1:3: [0].reason: is missing"),
        ("- {format_or_backend: apr, reason: x, issue: y}\n", ":1:39: [0].issue: unknown key"),
        ("- {format_or_backend: apr, reason: x}\n- {format_or_backend: apr, reason: y}\n", ":2:4: [1].format_or_back"),
    ],
)
def test_a_bad_skip_file_is_refused_with_its_place(tmp_path, text, words):
    (tmp_path / "small.skip.yaml").write_text(text)
    with pytest.raises(PlaybookError, match=re.escape(words)):
        load_data(tmp_path, changed({}))


def test_the_lock_holds_model_playbooks_only():
    assert sorted(read_lock(PLAYBOOKS / "playbook.lock.yaml")) == sorted(
        path.name.removesuffix(".playbook.yaml") for path in PLAYBOOKS.rglob("*.playbook.yaml")
    )
