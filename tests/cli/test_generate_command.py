"""`aprqa generate`: what stands on standard output is YAML or JSON and nothing else."""

from __future__ import annotations

import json

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
