"""The commands around finished runs: tickets, compare, readme-sync."""

from __future__ import annotations

import json
import os
import stat
import subprocess

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import update_registry
from pytest_aprqa.reporting.report_files import write_reports
from tests.reporting.attempt_factory import attempt, scored, small_run


@pytest.fixture
def run_folder(tmp_path):
    def made(name, entries):
        folder = tmp_path / name
        folder.mkdir()
        write_reports(folder, entries, scored(entries))
        return folder

    return made


def test_tickets_are_listed_and_written(run_folder, capsys):
    folder = run_folder("run", small_run())
    assert call(["tickets", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("P0  [QA] ")
    assert call(["tickets", str(folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {ticket["priority"] for ticket in listed} == {"P0"}
    assert not (folder / "tickets").exists()


def test_script_opens_each_ticket_once(run_folder, tmp_path, capsys):
    folder = run_folder("run", small_run())
    assert call(["tickets", str(folder), "-r", "acme/models", "--ticket-mode", "create"]) == 0
    capsys.readouterr()
    log = tmp_path / "gh.log"
    fake = tmp_path / "bin" / "gh"
    fake.parent.mkdir()
    first = sorted((folder / "tickets").glob("*.md"))[0].stem
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *"list"*"{first}"*) echo 7;; esac\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", str(folder / "tickets" / "open.sh")], check=True, env=environment)
    created = [line for line in log.read_text().splitlines() if line.startswith("issue create")]
    assert len(created) == len(list((folder / "tickets").glob("*.md"))) - 1
    assert all("--repo acme/models" in line for line in created)


def test_nothing_failed_no_ticket(run_folder, capsys):
    assert call(["tickets", str(run_folder("run", [attempt()]))]) == 0
    assert "No tickets" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after", "code"), [("Corroborated", "Falsified", 1), ("Falsified", "Corroborated", 0)]
)
def test_compare_ends_with_1_only_when_something_is_worse(run_folder, capsys, before, after, code):
    old, new = run_folder("old", [attempt(before)]), run_folder("new", [attempt(after)])
    assert call(["compare", str(old), str(new)]) == code
    text = capsys.readouterr().out
    assert "score   " in text
    assert f"{before} -> {after}" in text
    assert call(["compare", str(old), str(new), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["worse"] == code


def test_readme_gets_the_table(tmp_path, capsys):
    registry, readme = tmp_path / "models.csv", tmp_path / "README.md"
    update_registry(registry, lambda table: table.put(RegistryRow.new("A/B", family="f")), create=True)
    readme.write_text("# T\n<!-- CERTIFICATION_TABLE_START -->\n<!-- CERTIFICATION_TABLE_END -->\n")
    assert call(["readme-sync", "--csv", str(registry), "--readme", str(readme)]) == 0
    assert "[B](https://huggingface.co/A/B)" in readme.read_text()
    assert call(["readme-sync", "--csv", str(registry), "--check"]) == 0
    update_registry(registry, lambda table: table.put(table.rows["A/B"].changed(mqs_score="1001")))
    assert call(["readme-sync", "--csv", str(registry), "--check"]) == 1
    assert "A/B: mqs_score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "models.csv: cannot be read"),
        ({"models.csv": "x\n"}, "is not a registry of models"),
        ({"models.csv": None}, "README.md: cannot be read"),
        ({"models.csv": None, "README.md": "none"}, "the marker"),
    ],
)
def test_bad_files_are_one_line(tmp_path, capsys, files, words):
    for name, text in files.items():
        if text is None:
            update_registry(tmp_path / name, lambda table: None, create=True)
        else:
            (tmp_path / name).write_text(text)
    arguments = ["readme-sync", "--csv", str(tmp_path / "models.csv"), "--readme", str(tmp_path / "README.md")]
    assert call(arguments) == 1
    assert words in capsys.readouterr().err


def test_reports_for_other_programs_are_made_on_demand(run_folder, tmp_path, capsys, monkeypatch):
    folder = run_folder("run", small_run())
    assert not (folder / "report.sarif").exists()
    for name, file in (("sarif", "report.sarif"), ("csv", "evidence.csv")):
        assert call(["report", str(folder), "--formats", name, "--quiet"]) == 0
        assert (folder / file).is_file()
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    capsys.readouterr()
    assert call(["report", str(folder), "--formats", "github"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("::error ")
    assert "title=G0-VALIDATE-001" in first
    assert summary.read_text().startswith("# Model Qualification")
