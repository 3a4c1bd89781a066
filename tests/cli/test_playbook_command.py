"""`aprqa playbook check` and `write`."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.cli.main import call
from pytest_aprqa.playbooks.validation import SCHEMA_PATH

MODELS = Path(__file__).resolve().parents[2] / "playbooks" / "models"


def test_all_committed_playbooks_are_right(capsys):
    assert call(["playbook", "check", str(MODELS)]) == 0
    assert "120 of 120 playbooks are right" in capsys.readouterr().out


def test_each_fault_is_a_line_with_its_place(tmp_path, capsys):
    good = (MODELS / "tiny-qwen2-mvp.playbook.yaml").read_text()
    (tmp_path / "a.playbook.yaml").write_text(good.replace("version:", "versoin:", 1))
    (tmp_path / "b.playbook.yaml").write_text(good)
    assert call(["playbook", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "a.playbook.yaml:" in out
    assert "versoin" in out
    assert "1 of 2 playbooks are right" in out


def test_a_folder_without_playbooks_is_an_error(tmp_path, capsys):
    assert call(["playbook", "check", str(tmp_path)]) == 1
    assert "no *.playbook.yaml here" in capsys.readouterr().err


def test_write_is_checked_against_the_facts(tmp_path, capsys):
    assert call(["playbook", "write", str(MODELS), "--check"]) == 0
    assert call(["playbook", "write", str(tmp_path / "models")]) == 0
    assert "135 files written" in capsys.readouterr().out
    (tmp_path / "models" / "zephyr-7b-beta-mvp.playbook.yaml").write_text("other")
    assert call(["playbook", "write", str(tmp_path / "models"), "--check"]) == 1
    assert "1 files differ from the facts: zephyr-7b-beta-mvp" in capsys.readouterr().err


FAULTY = """\
# A comment, so that lines do not begin with the first key.
name: Not A Name
version: 1.0.0
model:
  hf_repo: only-a-name
  formats: [safetensors, safetensors]
  size_category: big
  expected_hidden_dim: "wide"
test_matrix:
  modalities: []
  scenario_count: 0
  timeout_ms: 600001
  pormpts: [x]
gates:
    g1_model_loads: maybe
"""


def test_every_fault_of_a_file_has_line_column_key_and_advice(tmp_path, capsys):
    path = tmp_path / "faulty.playbook.yaml"
    path.write_text(FAULTY)
    assert call(["playbook", "check", str(path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(path))]
    found = [line.removeprefix(f"{path}:") for line in lines]
    expected = [
        ("2:1", "name", "does not match"),
        ("5:3", "model.hf_repo", "does not match"),
        ("6:3", "model.formats", "the same item twice"),
        ("7:3", "model.size_category", "not an accepted word"),
        ("8:3", "model.expected_hidden_dim", "must be a whole number"),
        ("9:1", "test_matrix.backends", "is missing"),
        ("10:3", "test_matrix.modalities", "must have at least 1 item"),
        ("11:3", "test_matrix.scenario_count", "must be at least 1"),
        ("12:3", "test_matrix.timeout_ms", "must be at most 600000"),
        ("13:3", "test_matrix.pormpts", "did you mean `prompts`?"),
        ("15:5", "gates.g1_model_loads", "must be true or false"),
    ]
    assert len(found) == len(expected), "\n".join(found)
    for line, (place, key, words) in zip(found, expected, strict=True):
        assert line.startswith(f"{place}: {key}"), line
        assert words in line
        assert "; " in line, "it does not say what to do"


def test_a_fault_of_the_yaml_itself_has_line_and_column_too(tmp_path, capsys):
    path = tmp_path / "broken.playbook.yaml"
    path.write_text("name: a\nmodel:\n  hf_repo: [org/name\n")
    assert call(["playbook", "check", str(path)]) == 1
    assert f"{path}:4:1: is not YAML" in capsys.readouterr().out


def test_editors_find_the_schema_that_playbooks_and_templates_name():
    files = [*MODELS.glob("*.playbook.yaml"), *(MODELS.parent / "templates").glob("*.yaml")]
    assert len(files) == 120 + 5
    for file in files:
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema="), file
        named = (file.parent / first.partition("=")[2]).resolve()
        assert named.read_bytes() == SCHEMA_PATH.read_bytes(), file


def test_another_schema_may_be_named(tmp_path):
    assert call(["playbook", "write", str(tmp_path), "--schema", "https://example.org/playbook.json"]) == 0
    text = (tmp_path / "zephyr-7b-beta-mvp.playbook.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=https://example.org/playbook.json\n")
    assert len(list(tmp_path.glob("*.playbook.yaml"))) == 117
