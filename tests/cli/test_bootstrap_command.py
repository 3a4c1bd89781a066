"""`aprqa bootstrap`: the file it writes, what it says of its source, and that nothing is overwritten or left broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.playbooks.validation import SCHEMA_PATH

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
WANTED = ["bootstrap", "qwen2", "1.5b", "--hf-repo", "Qwen/Qwen2.5-Coder-1.5B-Instruct"]


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("HF_HOME", "HOME", "APRQA_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


def test_the_playbook_is_written_and_valid(capsys):
    assert call(WANTED) == 0
    shown = capsys.readouterr()
    assert "wrote playbooks/models/qwen2-1.5b-mvp.playbook.yaml" in shown.out
    assert "dimensions: built-in table" in shown.err
    assert call(["playbook", "check", "playbooks"]) == 0
    assert capsys.readouterr() == ("1 of 1 playbooks are right\n", "")
    assert call(["lock-playbooks", "playbooks"]) == 0


def schema_named_by(path):
    """The file that the first line of a playbook names for editors."""
    start = "# yaml-language-server: $schema="
    first = path.read_text().splitlines()[0]
    assert first.startswith(start)
    return (path.parent / first.removeprefix(start)).resolve()


@pytest.mark.parametrize(
    ("output", "place"),
    [
        (None, "playbooks/playbook.schema.json"),
        ("mine/x.playbook.yaml", "mine/playbook.schema.json"),
        ("playbooks/other/x.playbook.yaml", "playbooks/playbook.schema.json"),
    ],
)
def test_editors_find_the_schema_in_the_first_line(capsys, output, place):
    if place.startswith("playbooks"):
        assert call(WANTED) == 0
    path = Path(output or "playbooks/models/qwen2-1.5b-mvp.playbook.yaml")
    assert call([*WANTED, "-o", str(path), "--force"]) == 0
    assert schema_named_by(path) == Path(place).resolve()
    assert Path(place).read_text() == SCHEMA_PATH.read_text()
    assert len(list(Path().rglob("*.schema.json"))) == 1
    capsys.readouterr()
    assert call(["playbook", "check", str(path)]) == 0
    assert capsys.readouterr() == ("1 of 1 playbooks are right\n", "")


def test_another_schema_is_named_and_none_is_written():
    assert call([*WANTED, "-o", "x.playbook.yaml", "--schema", "https://example.org/s.json"]) == 0
    assert (
        Path("x.playbook.yaml").read_text().startswith("# yaml-language-server: $schema=https://example.org/s.json\n")
    )
    assert [path.name for path in Path().iterdir()] == ["x.playbook.yaml"]


def test_a_schema_that_is_there_stays_and_is_told(capsys):
    Path("playbook.schema.json").write_text("{}")
    assert call([*WANTED, "-o", "x.playbook.yaml"]) == 0
    assert "playbook.schema.json is not this version's schema" in capsys.readouterr().err
    assert Path("playbook.schema.json").read_text() == "{}"


def test_nothing_is_overwritten_unless_asked(capsys):
    assert call([*WANTED, "-o", "x.playbook.yaml"]) == 0
    Path("x.playbook.yaml").write_text("mine")
    assert call([*WANTED, "-o", "x.playbook.yaml"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert Path("x.playbook.yaml").read_text() == "mine"
    assert call([*WANTED, "-o", "x.playbook.yaml", "--force"]) == 0
    assert "name: x\n" in Path("x.playbook.yaml").read_text()


def test_dry_run_prints_the_playbook_only(capsys):
    assert call([*WANTED, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    assert call(WANTED) == 0
    assert Path("playbooks/models/qwen2-1.5b-mvp.playbook.yaml").read_text() == printed


def test_a_model_of_this_machine_is_read_and_runs_as_said(tmp_path, capsys):
    shutil.copytree(TINY, tmp_path / "cache" / "demo" / "Tiny-2M")
    arguments = ["bootstrap", "qwen2", "2m", "--hf-repo", "demo/Tiny-2M", "--model-cache", str(tmp_path / "cache")]
    assert call([*arguments, "--tier", "smoke", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    declared = json.loads((TINY / "config.json").read_text())
    assert told["source"].endswith("demo/Tiny-2M/config.json")
    assert told["dimensions"]["hidden_dim"] == declared["hidden_size"]
    assert told["dimensions"]["vocab_size"] == declared["vocab_size"]
    assert Path(told["path"]).read_text() == told["text"]


def test_default_contract_is_used_where_it_is_there(capsys):
    folder = Path("../aprender/contracts/model-families")
    folder.mkdir(parents=True)
    (folder / "qwen2.yaml").write_text("family: qwen2\nsize_variants: {1.5b: {hidden_dim: 7}}\n")
    assert call([*WANTED, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dimensions"], told["path"]) == ({"hidden_dim": 7}, None)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bootstrap", "qwen2", "9b", "--hf-repo", "a/b"], 1, "available: 0.5b, 1.5b, 3b"),
        (["bootstrap", "qwen2", "1.5b"], 2, "--hf-repo"),
        (["bootstrap", "nope", "1b", "--hf-repo", "a/b"], 1, "no family nope"),
        ([*WANTED, "--tier", "huge"], 2, "Unknown tier: huge"),
        ([*WANTED, "-o", "x.yaml"], 2, "ends in .playbook.yaml"),
        ([*WANTED, "--config", "/"], 1, "config.json"),
        ([*WANTED, "--contracts-path", "."], 1, "qwen2.yaml: no such contract"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, arguments, code, words):
    assert call(arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_a_family_without_known_sizes_is_warned_about(capsys):
    assert call(["bootstrap", "llama", "1b", "--hf-repo", "meta/L-1B", "--tier", "smoke"]) == 0
    assert "warning: no dimensions are known" in capsys.readouterr().err
    assert "expected_" not in Path("playbooks/models/llama-1b-smoke.playbook.yaml").read_text()
