import gc
import hashlib
import json
import stat

import pytest

from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.reporting import report_files
from pytest_aprqa.reporting.report_files import ALL, REPORTS, write_reports
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt, small_run


def scored(entries):
    return score(entries, model_id="example/Tiny-1B")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_reports_are_written_and_nothing_else(tmp_path):
    paths = write_reports(tmp_path, small_run(), scored(small_run()))
    assert sorted(path.name for path in paths) == sorted(ALL) == sorted(contents(tmp_path))


def test_the_same_evidence_gives_the_same_bytes(tmp_path):
    entries = small_run()
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        write_reports(folder, entries, scored(entries))
    assert contents(first) == contents(second)


def test_evidence_read_back_gives_the_same_reports(tmp_path):
    entries = small_run()
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir(), second.mkdir()
    write_reports(first, entries, scored(entries))
    again = [Evidence.from_dict(entry) for entry in json.loads((first / "evidence.json").read_text())]
    write_reports(second, again, scored(again))
    assert contents(first) == contents(second)


def test_evidence_json_is_an_array_in_execution_order(tmp_path):
    write_reports(tmp_path, small_run(), None)
    array = json.loads((tmp_path / "evidence.json").read_text())
    assert [entry["outcome"] for entry in array] == ["Corroborated", "Falsified", "Crashed", "Skipped"]


def test_the_certificate_names_the_evidence_json_of_its_own_run(tmp_path):
    entries = small_run()
    write_reports(tmp_path, [attempt(output="another run")], None)
    for only in (("certificate.json",), None):
        write_reports(tmp_path, entries, scored(entries), only=only)
        text = (tmp_path / "certificate.json").read_text()
        assert hashlib.sha256(report_files.evidence_json(entries).encode()).hexdigest() in text


def test_without_a_score_an_old_mqs_json_does_not_stay(tmp_path):
    write_reports(tmp_path, small_run(), scored(small_run()))
    write_reports(tmp_path, [], None)
    assert not (tmp_path / "mqs.json").exists()
    assert json.loads((tmp_path / "evidence.json").read_text()) == []


@pytest.mark.parametrize("choice", sorted(REPORTS))
def test_only_the_chosen_reports_are_written(tmp_path, choice):
    write_reports(tmp_path, small_run(), scored(small_run()), only=REPORTS[choice])
    assert sorted(contents(tmp_path)) == sorted(REPORTS[choice])


def test_values_that_json_lacks_and_lone_surrogates_are_written(tmp_path):
    entry = attempt("Falsified", output="\ud800", observed=[{"name": "nmse", "value": float("nan"), "limit": 1.0}])
    write_reports(tmp_path, [entry], scored([entry]))
    (read,) = json.loads((tmp_path / "evidence.json").read_bytes(), parse_constant=lambda name: pytest.fail(name))
    assert read["output"] == "\ud800"


def test_a_failed_write_leaves_the_old_report_and_no_part(tmp_path, monkeypatch):
    write_reports(tmp_path, small_run(), scored(small_run()))
    before = contents(tmp_path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_aprqa.reporting.atomic_file.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_reports(tmp_path, [attempt()], scored([attempt()]))
    assert contents(tmp_path) == before


def test_the_collector_runs_again_after_the_reports_and_after_an_error(tmp_path):
    write_reports(tmp_path, [attempt()], None)
    assert gc.isenabled()
    with pytest.raises(OSError, match="none"):
        write_reports(tmp_path / "none", [attempt()], None)
    assert gc.isenabled()
    gc.disable()
    try:
        write_reports(tmp_path, [attempt()], None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_reports_are_readable_by_others_as_the_umask_allows(tmp_path):
    write_reports(tmp_path, [attempt()], None)
    assert (tmp_path / "report.md").stat().st_mode & stat.S_IRUSR
    assert report_files.MARKDOWN == "report.md"
