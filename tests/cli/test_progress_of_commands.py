"""Commands that may work for long show what they do on a terminal; elsewhere nothing of it is written."""

from __future__ import annotations

import io
import shutil
import sys
import threading
import time

import pytest

from pytest_aprqa.cli import progress_bar
from pytest_aprqa.cli.main import call
from pytest_aprqa.cli.progress_bar import CLEAR
from pytest_aprqa.reporting.report_files import write_reports
from tests.plugin.conftest import TINY_MODEL
from tests.reporting.attempt_factory import attempt, scored, small_run

SCORING = {
    "score": ["score", "run"],
    "report": ["report", "run", "--output", "reports"],
    "export-csv": ["export-csv", "--evidence-dir", "run", "--output", "models.csv"],
    "export-evidence": ["export-evidence", "run", "--output-dir", "published"],
}
SHOWN = [
    *((arguments, ["scoring"]) for arguments in SCORING.values()),
    (["tickets", "run"], ["sorting failures"]),
    (["compare", "run", "run"], ["comparing and scoring"]),
    (["merge", "run", "--output", "joined"], ["joining 1 runs", "writing reports"]),
    (
        ["verify", "run", "--replay", "1"],
        ["hashing the evidence", "scoring", "hashing the files of the model", "running 1 scenarios again"],
    ),
    (["defects", "apply", "tensor-missing", str(TINY_MODEL), "broken"], [f"breaking a copy of {TINY_MODEL.name}"]),
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class DrawnAtOnce(threading.Thread):
    """The thread of `working`, started when it has drawn: the work of a test is shorter than a thread's first turn."""

    def start(self):
        before = sys.stderr.getvalue().count(" ... ")
        super().start()
        until = time.monotonic() + 20
        while sys.stderr.getvalue().count(" ... ") == before and time.monotonic() < until:
            time.sleep(0.001)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "run"
    folder.mkdir()
    entries = [*small_run(), attempt(check="test_answer", engine={"name": "torch"})]
    write_reports(folder, entries, scored(entries))
    return folder


@pytest.fixture
def place(evidence, tmp_path, monkeypatch):
    shutil.copytree(evidence, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def watched(monkeypatch):
    """What a command writes to a standard error that is a terminal, or is none."""

    def watch(arguments, stream):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", stream)
            patched.setattr(progress_bar, "AFTER_SECONDS", 0.0)
            if stream.isatty():
                patched.setattr(progress_bar.threading, "Thread", DrawnAtOnce)
            call(arguments)
        return stream.getvalue()

    return watch


@pytest.mark.parametrize(("arguments", "labels"), SHOWN, ids=lambda value: value[0])
def test_a_terminal_sees_what_a_command_does(arguments, labels, place, watched):
    shown = watched(arguments, Terminal())
    for label in labels:
        assert f"{CLEAR}{label} ... 0 s" in shown
    assert "error" not in shown


@pytest.mark.parametrize(("arguments", "labels"), SHOWN, ids=lambda value: value[0])
def test_elsewhere_nothing_of_it_is_written(arguments, labels, place, watched):
    written = watched(arguments, io.StringIO())
    assert not any(label in written for label in labels)
    assert CLEAR not in written


def test_parity_shows_recording_comparing_and_the_faults_that_it_seeds(tmp_path, watched, capsys):
    corpus = str(tmp_path / "corpus")
    record = ["parity", "--record", str(TINY_MODEL), "--output", corpus, "-p", "Hello", "--new-tokens", "2"]
    assert f"recording answers of {TINY_MODEL.name} ... " in watched(record, Terminal())
    assert "asking model.safetensors 1 prompts ... " in watched(
        ["parity", corpus, str(TINY_MODEL / "model.safetensors")], Terminal()
    )
    assert "seeding faults [" in watched(["parity", corpus, "--self-check"], Terminal())
    assert "PARITY VERIFIED" in capsys.readouterr().out
