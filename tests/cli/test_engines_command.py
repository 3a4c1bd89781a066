"""`aprqa engines`: engines side by side on one file; disagreements are named and are the exit code."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.engines import _nothing_ran, command
from pytest_aprqa.engine_certification import NOT_RUN, EngineCertificate
from pytest_aprqa.engine_comparison import EngineRun
from pytest_aprqa.models.bundled import bundled_folder

MODEL = bundled_folder() / "models" / "tiny-qwen2" / "model.safetensors"
FAKE_APR = Path(__file__).parents[1] / "engines" / "fake_apr.py"


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "apr"
    path.write_text(f"#!{sys.executable}\n" + FAKE_APR.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_engines_that_disagree_are_exit_1_and_are_compared_with_torch(run, program):
    words = ("--engine", "torch", "--engine", "apr", "--apr-binary", program, "-p", "What is 2+2?")
    shown = run(MODEL, *words)
    assert shown.exit_code == 1, shown.output
    assert "on torch" in shown.output
    assert "on apr 0.72.3: 2 of 2 answers differ" in shown.output
    assert "- raw 'What is 2+2?': prompt ids: 7 in torch (safetensors), 3 in apr" in shown.output
    told = json.loads(run(MODEL, *words, "--json").stdout)
    assert [entry["engine"] for entry in told] == ["torch", "apr"]
    assert told[0]["differences"] == []
    assert told[0]["results"]["chat 0"]["text"] == "4"
    assert len(told[1]["differences"]) == 2


def test_an_engine_alone_agrees_and_one_that_cannot_run_the_format_is_no_failure(run):
    shown = run(MODEL, "--engine", "torch", "--engine", "llama", "-p", "What is 2+2?")
    assert shown.exit_code == 0, shown.output
    assert "skipped" in shown.output
    assert "the engine llama does not run safetensors, only gguf" in shown.output


def test_an_engine_that_fails_is_exit_1_with_its_reason(run, program, monkeypatch):
    monkeypatch.setenv("FAKE_APR", "panic")
    shown = run(MODEL, "--engine", "apr", "--apr-binary", program, "-p", "guilty")
    assert shown.exit_code == 1
    assert "exit code 101" in shown.output


def test_where_nothing_is_compared_nothing_agrees(run):
    shown = run(MODEL, "--engine", "llama")  # runs no SafeTensors file
    assert shown.exit_code == 1
    assert "nothing was compared: no engine that was asked for can run this here" in shown.output


@pytest.mark.slow
def test_a_playbook_that_ran_on_no_engine_is_exit_1(run):
    words = ("--engine", "torch", "-p", "Hello!", "-n", "1", "--certify", "no-such-playbook")
    shown = run(MODEL, *words)
    assert shown.exit_code == 1
    assert re.search(r"torch +NOT RUN +--playbook: no-such-playbook: no such playbook", shown.output)


@pytest.mark.parametrize(
    ("not_run", "asked", "failed"),
    [
        ([], {"torch"}, False),
        ([], set(), True),
        (["apr"], {"torch"}, False),  # it is not here, and was skipped in the comparison too
        (["apr"], {"torch", "apr"}, True),
        (["torch", "apr"], set(), True),
    ],
)
def test_an_engine_that_answers_must_run_the_playbook_too(not_run, asked, failed):
    certificates = [EngineCertificate(name, NOT_RUN if name in not_run else "BLOCKED") for name in ("torch", "apr")]
    runs = [
        EngineRun("safetensors", MODEL, name, problem="not here", skipped=name not in asked)
        for name in ("torch", "apr")
    ]
    assert _nothing_ran(runs, certificates) is failed


@pytest.mark.parametrize("words", [["--engine", "nothing"], ["--engine", "url"]])
def test_wrong_use_is_exit_2(run, words):
    shown = run(MODEL, *words)
    assert shown.exit_code == 2
    assert "known here: torch, llama, apr" in shown.output


def test_a_file_that_is_no_model_is_one_line(run, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"no model")
    shown = run(tmp_path / "x.gguf")
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: ")
    assert len(shown.output.splitlines()) == 1
