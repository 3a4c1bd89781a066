"""--resume: what a killed run recorded is replayed, marked cached, to the same verdict; what changed is run again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.plugin.conftest import REPOSITORY, TINY_MODEL

VOLATILE = {"id", "timestamp", "metrics", "observed", "host", "metadata"}
# A wrong expectation: the run to be resumed has a failure too.
WRONG = {"type": "arithmetic", "config": {"answers": {"Hello!": "1234"}}}


def log_of(folder):
    lines = (folder / "evidence.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def stable(project, folder):
    return [{k: v for k, v in entry.items() if k not in VOLATILE} for entry in project.evidence(folder)]


def cached(project, folder):
    return {e["node_id"].split("::")[1] for e in project.evidence(folder) if e["metadata"].get("cached")}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Made once: the folder `run` of a finished run with a failure."""
    return tmp_path_factory.mktemp("recorded") / "run"


@pytest.fixture
def whole(project, recorded):
    """A finished run in the folder `run`, of the checks of answers; gives the playbook."""
    path = project.write_playbook(oracles=[WRONG])
    if not recorded.is_dir():
        result = project.run(f"--playbook={path}", "--evidence-dir=run", "-k", "answer_is_accepted or file_is_sound")
        result.assert_outcomes(passed=2, failed=1)
        shutil.copytree(project.path / "run", recorded)
    else:
        shutil.copytree(recorded, project.path / "run")
    return path


def run_again(project, path, *arguments, checks="answer_is_accepted or file_is_sound"):
    return project.run(f"--playbook={path}", "--resume=run", "-k", checks, *arguments)


def run_file_check(project, path, *arguments):
    """The one check that needs no engine, run or replayed."""
    run_again(project, path, *arguments, checks="file_is_sound").assert_outcomes(passed=1)
    return bool(cached(project, "run"))


def test_a_finished_run_is_replayed_with_its_failure_and_without_an_engine(project, whole):
    before, score = stable(project, "run"), project.score("run")
    result = run_again(project, whole, "-v")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*Falsified*(cached)*", "replayed from an earlier run: 3 of 3 items"])
    assert stable(project, "run") == before
    assert project.score("run") == score
    assert len(cached(project, "run")) == 3
    assert len(log_of(project.path / "run")) == 6, "the log is added to, nothing is lost"


def test_another_folder_takes_the_evidence_and_the_first_stays_as_it_is(project, whole):
    before = (project.path / "run" / "evidence.jsonl").read_bytes()
    run_again(project, whole, "--evidence-dir=second").assert_outcomes(passed=2, failed=1)
    assert (project.path / "run" / "evidence.jsonl").read_bytes() == before
    assert stable(project, "second") == stable(project, "run")
    assert len(log_of(project.path / "second")) == 3


def test_workers_replay_too(project, whole):
    pytest.importorskip("xdist")
    run_again(project, whole, "-n1").assert_outcomes(passed=2, failed=1)
    assert len(cached(project, "run")) == 3


def test_a_changed_time_limit_is_another_item(project, whole):
    assert run_file_check(project, whole)
    assert not run_file_check(project, whole, "--scenario-timeout=50000")


def test_an_edited_playbook_is_another_playbook(project, whole):
    whole.write_text(whole.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert not run_file_check(project, whole)


def test_other_weights_are_another_item(project, whole):
    copy = shutil.copytree(TINY_MODEL, project.path / "copy")
    assert run_file_check(project, whole, f"--model-path={copy}"), "a model is known by its bytes, not by its place"
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    assert not run_file_check(project, whole, f"--model-path={copy}")


def test_another_configuration_is_another_item(project, whole):
    copy = shutil.copytree(TINY_MODEL, project.path / "copy")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"note": "edited"}), encoding="utf-8")
    assert not run_file_check(project, whole, f"--model-path={copy}")


def test_an_entry_under_another_key_is_not_replayed(project, whole):
    log = project.path / "run" / "evidence.jsonl"
    log.write_text(re.sub(r'"item_key": "[0-9a-f]{64}"', f'"item_key": "{"0" * 64}"', log.read_text()))
    assert not run_file_check(project, whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "*--resume: * has no evidence.jsonl; name the folder of a run*"), ("[]\n", "*--resume: *not an object*")],
)
def test_a_folder_without_a_usable_log_is_a_usage_error(project, content, message):
    (project.path / "run").mkdir()
    if content is not None:
        (project.path / "run" / "evidence.jsonl").write_text(content)
    result = project.run(f"--playbook={project.write_playbook()}", "--resume=run")
    assert result.ret == 4
    result.stderr.fnmatch_lines([message])


@pytest.mark.slow
def test_a_run_killed_in_the_middle_resumes_to_the_same_verdict(project, work_cache):
    path = project.write_playbook(oracles=[WRONG])
    selection = ["-k", "tensor or sound or answer or survives or config", "-p", "no:cacheprovider"]
    project.run(f"--playbook={path}", "--evidence-dir=whole", *selection)
    log = project.path / "killed" / "evidence.jsonl"
    command = [sys.executable, "-m", "pytest", f"--playbook={path}", "--evidence-dir=killed", *selection]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen(
        command, cwd=project.path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        wanted = len(project.evidence("whole")) // 2
        deadline = time.monotonic() + 200
        while not log.is_file() or log.read_bytes().count(b"\n") < wanted:
            assert child.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    recorded = log.read_bytes().count(b"\n")
    assert not (project.path / "killed" / "mqs.json").exists()
    with log.open("ab") as stream:
        stream.write(b'{"id": "torn')  # a kill in the middle of a line
    result = project.run(f"--playbook={path}", "--resume=killed", *selection)
    assert result.ret == 1
    assert stable(project, "killed") == stable(project, "whole")
    assert project.score("killed") == project.score("whole")
    replayed = cached(project, "killed")
    assert replayed
    assert len(replayed) <= recorded < len(project.evidence("whole"))
