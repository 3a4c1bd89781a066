"""The examples of commands that need weights, run as they are shown on the bundled model."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from pytest_aprqa.cli.examples import examples_of
from pytest_aprqa.cli.main import call
from pytest_aprqa.lifecycle.cache import cache_folder
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.reporting.report_files import write_reports
from tests.cli.all_commands import COMMANDS
from tests.cli.test_merge_command import CHECKS, write_shard
from tests.plugin.conftest import TINY_MODEL
from tests.reporting.attempt_factory import attempt, scored

RUN_HERE = (
    "baseline", "check", "defects apply", "derive", "diagnose-conversion", "inspect", "merge", "parity",
    "validate-contract",
)  # fmt: skip
SPEEDS = [{"name": "speed_samples", "value": [10.0, 11.0, 12.0]}, {"name": "machine", "value": "this one"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as the examples presume it: the model in `~/models`, its GGUF form, a corpus, parts of a run, a run."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(TINY_MODEL, folder / "models" / "acme" / "Model-1B")
    shutil.copyfile(derive(TINY_MODEL, "gguf", cache=cache_folder()).path, folder / "model.gguf")
    corpus = ["parity", "--record", str(TINY_MODEL), "--output", str(folder / "corpus"), "-p", "Hello"]
    assert call([*corpus, "--new-tokens", "2"]) == 0
    (folder / "evidence" / "latest").mkdir(parents=True)
    for number in (1, 2):
        write_shard(folder / "evidence" / f"part-{number}", CHECKS[number - 1 :: 2], number)
    entries = [attempt(observed=SPEEDS)]
    write_reports(folder / "evidence" / "latest", entries, scored(entries))
    return folder


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name in RUN_HERE for example in examples_of(COMMANDS[name])]
)
def test_an_example_does_what_it_says_with_a_model(name, example, place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    code = call(shlex.split(example.replace("~", str(place)))[1:])
    shown = capfd.readouterr()
    assert code == 0, shown.out + shown.err
    assert shown.out
    if "--json" in example:
        json.loads(shown.out)


def test_the_example_of_verify_runs_scenarios_of_a_certificate_again(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    few = ["-k", "garbage and safetensors-cpu-run", "--evidence-dir", "evidence/latest", "-p", "no:cacheprovider"]
    assert call(["run", "tiny-qwen2-mvp", *few]) == 0
    (example,) = examples_of(COMMANDS["verify"])
    capfd.readouterr()
    assert call(shlex.split(example)[1:]) == 0
    shown = capfd.readouterr().out
    assert shown.count("Corroborated again") == 3
    assert "VERIFIED: " in shown
