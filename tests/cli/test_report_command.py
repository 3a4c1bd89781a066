import json
import os

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.evidence.log import EvidenceLog
from pytest_aprqa.reporting.report_files import ALL, REPORTS, write_reports
from tests.reporting.attempt_factory import attempt, scored, small_run


@pytest.fixture
def entries():
    """A run with item numbers, as the plugin records them."""
    return [
        attempt(check=f"test_{n}", metadata={"order": str(n)}, outcome=outcome)
        for n, outcome in enumerate(["Corroborated", "Falsified", "Skipped", "Corroborated"])
    ]


@pytest.fixture
def folder(tmp_path, entries):
    """A run folder as parallel workers leave it: the log in order of arrival, the reports in order of the items."""
    path = tmp_path / "run"
    path.mkdir()
    log = EvidenceLog(path / "evidence.jsonl")
    for entry in reversed(entries):
        log.append(entry)
    log.close()
    write_reports(path, entries, scored(entries))
    return path


def contents(folder, names=ALL):
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("name", ["", "evidence.jsonl", "evidence.json"])
def test_reports_are_rebuilt_byte_for_byte(folder, name, tmp_path, capsys):
    assert call(["report", str(folder / name), "-o", str(tmp_path / "again")]) == 0
    assert contents(tmp_path / "again") == contents(folder)
    assert "test_1" in capsys.readouterr().out


def test_without_output_the_reports_go_beside_the_evidence(folder):
    for name in ALL:
        (folder / name).unlink()
    assert call(["report", str(folder), "--quiet"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted([*ALL, "evidence.jsonl"])


@pytest.mark.parametrize("choice", sorted(REPORTS))
def test_only_the_chosen_format_is_written(folder, choice, tmp_path, capsys):
    assert call(["report", str(folder), "-o", str(tmp_path / "again"), "--formats", choice, "--quiet"]) == 0
    assert sorted(os.listdir(tmp_path / "again")) == sorted(REPORTS[choice])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(name in shown.err for name in REPORTS[choice])


def test_a_run_that_was_only_skipped_is_reported_but_not_scored(tmp_path, capsys):
    write_reports(tmp_path, [attempt("Skipped")], None)
    assert call(["report", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "skipped" in shown.err
    assert "no score" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "mqs.json").exists()


def test_a_folder_that_cannot_be_written_is_one_line(folder, tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    assert call(["report", str(folder), "-o", str(blocker / "below")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_hostile_evidence_cannot_control_the_terminal(tmp_path, capsys):
    write_reports(tmp_path, [attempt("Falsified", reason="\x1b]0;owned\x07")], None)
    assert call(["report", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "\x1b]" not in shown.out
    assert "\\x1b]0;owned" in shown.out


def test_rebuilt_evidence_validates_against_the_committed_schema(folder, tmp_path):
    from pytest_aprqa.evidence.validation import validate

    assert call(["report", str(folder), "-o", str(tmp_path / "again"), "--quiet"]) == 0
    validate(json.loads((tmp_path / "again" / "evidence.json").read_text()))
    write_reports(tmp_path, small_run(), None)
    validate(json.loads((tmp_path / "evidence.json").read_text()))
