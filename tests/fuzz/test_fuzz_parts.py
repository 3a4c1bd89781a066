"""The fuzzer itself: it is repeatable, it reaches deep, and a reader with a fault in it is found out."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_aprqa.formats.errors import FormatError
from tests.fuzz import corpus, judgement, mutations
from tests.fuzz.budget import Budget
from tests.fuzz.judgement import judge
from tests.fuzz.model_targets import read_weights
from tests.fuzz.target import mutant
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
BINARY = ("safetensors", "gguf", "apr")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch):
    """Put a reader with a fault in the place of the one for SafeTensors."""

    def put(read) -> str:
        monkeypatch.setitem(TARGETS, "safetensors", dataclasses.replace(TARGETS["safetensors"], read=read))
        return "safetensors"

    return put


@pytest.mark.parametrize("reader", list(TARGETS))
def test_inputs_are_repeatable_and_differ(reader: str) -> None:
    seeds, kept = TARGETS[reader].seeds(), list(corpus.kept(reader).values())
    inputs = [mutant(seeds, number, 3, kept) for number in range(60)]
    assert inputs == [mutant(TARGETS[reader].seeds(), number, 3, kept) for number in range(60)]
    assert len(set(inputs)) > 40
    assert inputs[:5] != [mutant(seeds, number, 4, kept) for number in range(5)]


def test_other_inputs_do_not_change_an_input() -> None:
    mutate, before = mutations.json_text(b'{"a": [[], {}, 1]}'), repr(mutations.JSON_VALUES)
    for number in range(3000):
        mutate(b"", random.Random(number))
    assert repr(mutations.JSON_VALUES) == before


@pytest.mark.parametrize("reader", BINARY)
def test_damage_reaches_many_rules(reader: str, tmp_path: Path) -> None:
    target, words = TARGETS[reader], set()
    seeds, path = target.seeds(), tmp_path / TARGETS[reader].file
    for number in range(300):
        path.write_bytes(mutant(seeds, number, 5))
        try:
            target.read(path)
        except FormatError as error:
            words.add(error.problem)
    assert len(words) >= 12, sorted(words)


def test_an_exception_without_a_type_of_ours_is_a_finding(faulty, tmp_path: Path) -> None:
    def read(path: Path) -> None:
        read_weights(path)
        {}["missing"]

    assert "KeyError: 'missing' at test_fuzz_parts.py" in str(judge(faulty(read), _sound(tmp_path)).finding)


def test_a_line_break_in_an_error_is_a_finding(faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        error = FormatError(path, "header", "x")
        error.args = ("two\nlines",)
        raise error

    monkeypatch.setattr(FormatError, "__str__", lambda self: self.args[0])
    assert "more than one line" in str(judge(faulty(read), _sound(tmp_path)).finding)


def test_a_slow_reader_is_a_finding(faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "LIMIT_SECONDS", 0.05)
    assert "limit 0.05" in str(judge(faulty(lambda path: time.sleep(0.1)), _sound(tmp_path)).finding)
    assert judge(faulty(lambda path: None), _sound(tmp_path)).finding is None


def test_a_stuck_reader_is_stopped(faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "STUCK_SECONDS", 0.05)
    before = signal.getsignal(signal.SIGALRM)
    judgement.stop_when_stuck()
    try:
        assert "no answer" in str(judge(faulty(lambda path: time.sleep(5)), _sound(tmp_path)).finding)
    finally:
        signal.signal(signal.SIGALRM, before)


def _sound(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(TARGETS["safetensors"].seeds()["good"][0])
    return path


def test_the_documentation_names_every_reader() -> None:
    page = (ROOT / "docs" / "explanation" / "damaged-files.md").read_text(encoding="utf-8")
    table = " ".join(line for line in page.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([a-z-]+)`", table)) == set(TARGETS)


def test_time_that_a_quick_job_leaves_goes_to_the_next() -> None:
    now = [0.0]
    budget = Budget(120, jobs=6, workers=2, clock=lambda: now[0])
    assert budget.next_job() == 40  # three rounds of two
    now[0] = 10  # it took 10 seconds
    assert budget.next_job() == 55
    now[0] = 119.5
    assert budget.next_job() == 1  # never less: something is tried
    now[0] = 200
    assert budget.next_job() == 1
    assert Budget(0, 6, 2).next_job() == 0


@pytest.mark.parametrize(("limit", "all_of_them"), [(0.0, True), (600.0, True), (1e-9, False)])
def test_no_more_files_are_begun_when_the_time_is_over(limit: float, all_of_them: bool, tmp_path: Path) -> None:
    code = "import json,sys; from pathlib import Path; from tests.fuzz.campaign import run;"
    code += f"print(json.dumps(run('evidence', 0, 300, 1, Path({str(tmp_path)!r}), {limit})))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(ended.stdout)
    assert result["asked"] == 300
    assert (result["inputs"] == 300) is all_of_them


@pytest.mark.parametrize(("asked", "minutes", "status"), [(600, "9", 0), (100_000, "0.001", 1)])
def test_a_run_in_which_a_reader_gets_too_few_files_fails(asked: int, minutes: str, status: int, tmp_path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/fuzz", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}"]
    command += ["-k", "many_damaged and evidence", "--fuzz-inputs", str(asked), "--fuzz-minutes", minutes]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout
    assert ("600 of       600 files" in ended.stdout) is (status == 0)
    assert ("FEWER THAN ASKED FOR" in ended.stdout) is (status == 1)
