"""aprqa verify --replay: scenarios of a certificate are run again; a story that hangs together is found out by that."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from pytest_aprqa.certificate_replay import sample
from pytest_aprqa.cli.main import call
from pytest_aprqa.evidence.log import EvidenceLog, read_log
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.reporting.report_files import write_reports
from pytest_aprqa.scoring.score import score
from tests.plugin.conftest import TINY_MODEL
from tests.reporting.attempt_factory import attempt, scenario

ENGINE = {"name": "torch", "version": "2.9", "backend": "cpu", "dtype": "float32"}


def test_a_sample_is_of_scenarios_that_an_engine_answered_and_does_not_depend_on_their_order():
    entries = [attempt(check=f"test_{n}", engine=ENGINE) for n in range(20)]
    others = [
        attempt(check="test_file", engine=ENGINE, scenario=scenario(prompt=None)),
        attempt("Skipped", check="test_skipped", engine=ENGINE),
        attempt("Crashed", check="test_crashed", engine=ENGINE),
        attempt(check="test_without_engine"),
    ]
    chosen = sample([*others, *entries], 5, "seed")
    assert len(chosen) == 5
    assert {entry.check for entry in chosen} <= {entry.check for entry in entries}
    assert [e.check for e in sample(entries[::-1], 5, "seed")] == [e.check for e in chosen]
    assert [e.check for e in sample(entries, 5, "another seed")] != [e.check for e in chosen]
    assert len(sample([*others, *entries], 100, "seed")) == 20


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Made once: the folder of a finished run."""
    return tmp_path_factory.mktemp("recorded") / "run"


@pytest.fixture
def run(project, monkeypatch, recorded):
    """A run of the checks of answers, and its playbook beside it."""
    monkeypatch.chdir(project.path)
    path = project.write_playbook()
    if not recorded.is_dir():
        project.run(f"--playbook={path}", "--evidence-dir=run", "-k", "answer_is_accepted")
        shutil.copytree(project.path / "run", recorded)
    else:
        shutil.copytree(recorded, project.path / "run")
    return project.path / "run"


def replayed(capsys, folder, *arguments):
    capsys.readouterr()
    code = call(["verify", str(folder), "--replay", "2", "--json", *arguments])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, [check for check in checks if check["name"].startswith("replay: ")], checks


def rewrite(folder, **changes):
    """Tell another story: every entry changed, and log, evidence, score and certificate made anew to fit."""
    entries = [dataclasses.replace(entry, **changes) for entry in read_log(folder / "evidence.jsonl")]
    (folder / "evidence.jsonl").unlink()
    with EvidenceLog(folder / "evidence.jsonl") as log:
        for entry in entries:
            log.append(entry)
    write_reports(folder, entries, score(entries, model_id="aprqa/tiny-qwen2"))


def test_a_true_run_is_verified_by_running_it_again(project, run, capsys):
    code, replays, checks = replayed(capsys, run, f"--model-path={TINY_MODEL}")
    assert code == 0, checks
    assert sorted(check["detail"] for check in replays) == ["Corroborated again"] * 2
    assert next(check for check in checks if check["name"] == "playbook: small")["state"] == "passed"


@pytest.mark.slow
def test_invented_outcomes_and_answers_are_found_though_all_digests_agree(project, run, capsys):
    invented = shutil.copytree(run, project.path / "invented")
    rewrite(invented, outcome=Outcome.FALSIFIED, reason="it was bad")
    rewrite(run, output="an invented answer")
    code, replays, checks = replayed(capsys, invented)
    assert code == 1
    assert {check["detail"] for check in replays} == {"recorded Falsified, now Corroborated: Test passed"}
    assert [check["name"] for check in checks if check["state"] == "failed"] == [check["name"] for check in replays]
    code, replays, _ = replayed(capsys, run)
    assert code == 1
    assert all("instead of 'an invented answer'" in check["detail"] for check in replays)


def test_a_playbook_that_is_not_here_cannot_be_replayed(project, run, capsys):
    (project.path / "small.playbook.yaml").unlink()
    code, replays, _ = replayed(capsys, run)
    assert code == 1
    assert all("is not here" in check["detail"] for check in replays)
