"""`aprqa playbook check` and `write`."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.cli.main import call

MODELS = Path(__file__).resolve().parents[2] / "playbooks" / "models"


def test_all_committed_playbooks_are_right(capsys):
    assert call(["playbook", "check", str(MODELS)]) == 0
    assert "119 of 119 playbooks are right" in capsys.readouterr().out


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
    assert call(["playbook", "write", str(tmp_path)]) == 0
    assert "117 written" in capsys.readouterr().out
    (tmp_path / "zephyr-7b-beta-mvp.playbook.yaml").write_text("other")
    assert call(["playbook", "write", str(tmp_path), "--check"]) == 1
    assert "1 playbooks differ from the facts: zephyr-7b-beta-mvp" in capsys.readouterr().err
