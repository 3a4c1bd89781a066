"""`aprqa generate`: what stands on standard output is YAML or JSON and nothing else."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from pytest_aprqa.cli.main import call


def generated(capsys, *arguments):
    assert call(["generate", "Qwen/Q-1B", *arguments]) == 0
    return capsys.readouterr()


def test_json_and_yaml_hold_the_same_scenarios(capsys):
    asked = generated(capsys, "-c", "25", "--format", "json")
    scenarios = json.loads(asked.out)
    assert len(scenarios) == 450
    assert asked.err == "Generated 450 scenarios for Qwen/Q-1B\n"
    assert json.loads(generated(capsys, "-c", "25", "--json").out) == scenarios
    assert list(yaml.safe_load_all(generated(capsys, "-c", "25").out)) == scenarios


def test_the_seed_decides(capsys):
    first = generated(capsys, "-c", "25", "--seed", "7").out
    assert generated(capsys, "-c", "25", "--seed", "7").out == first
    assert generated(capsys, "-c", "25", "--seed", "8").out != first


@pytest.fixture
def without_hypothesis(monkeypatch):
    """Runs a command where `import hypothesis` fails; only meanwhile, because Hypothesis looks at each test itself."""

    def run(*arguments):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "hypothesis", None)
            return call(["generate", "Qwen/Q-1B", "--json", *arguments])

    return run


@pytest.mark.parametrize(("count", "notes"), [(18, 0), (19, 1)])  # there are 18 known prompts
def test_without_hypothesis_the_known_prompts_are_taken_and_that_is_said(capsys, without_hypothesis, count, notes):
    assert without_hypothesis("-c", str(count)) == 0
    asked = capsys.readouterr()
    assert asked.err.count("note: Hypothesis is not installed") == notes
    assert asked.err.count("\n") == notes + 1
    assert json.loads(asked.out) == json.loads(generated(capsys, "-c", str(count), "--json", "--prompts", "known").out)


@pytest.mark.parametrize("prompts", ["both", "drawn"])
def test_asked_for_by_name_drawn_prompts_are_an_error_without_hypothesis(capsys, without_hypothesis, prompts):
    assert without_hypothesis("-c", "19", "--prompts", prompts) == 1
    shown = capsys.readouterr()
    assert "is not installed" in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b", "-f", "xml"], "'xml' is not one of"),
        (["a/b", "-c", "0"], "0 is not in the range"),
        (["a/b", "-c", "10001"], "10001 is not in the range"),
        (["a/b", "--seed", "-1"], "-1 is not in the range"),
        (["a/b/c"], "is not a model id"),
        (["../x\n"], "is not a model id"),
        ([""], "is not a model id"),
    ],
)
def test_wrong_use_is_exit_code_2(capsys, arguments, words):
    assert call(["generate", *arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
