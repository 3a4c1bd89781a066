"""The bundled model on torch and on the released program, side by side: what they disagree about is named."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.engines import command
from pytest_aprqa.cli.examples import examples_of
from pytest_aprqa.cli.main import call
from tests.cli.all_commands import COMMANDS
from tests.real_apr.real_models import TINY_QWEN2
from tests.real_apr.real_program import Apr


def test_a_raw_prompt_has_other_ids_in_the_program_and_a_chat_answer_does_not_end(apr: Apr) -> None:
    words = [str(TINY_QWEN2), "--engine", "torch", "--engine", "apr", "--apr-binary", str(apr.path), "--timeout", "600"]
    told = CliRunner().invoke(command, [*words, "-p", "What is 2+2?", "--json"])
    assert told.exit_code == 1, told.output
    runs = {(run["format"], run["engine"]): run for run in json.loads(told.stdout)}
    assert set(runs) == {(form, engine) for form in ("safetensors", "apr", "gguf") for engine in ("torch", "apr")}
    assert all(run["problem"] is None for run in runs.values())
    for form, prompt_ids in {"safetensors": 31, "apr": 15, "gguf": 15}.items():
        assert runs[form, "torch"]["differences"] == []
        differences = " ".join(runs[form, "apr"]["differences"])
        assert f"raw 'What is 2+2?': prompt ids: 7 in torch (safetensors), {prompt_ids} in apr" in differences
    assert runs["gguf", "apr"]["results"]["chat 0"]["text"] == "4"
    assert "chat 'What is 2+2?': text: '4' in torch" in " ".join(runs["apr", "apr"]["differences"])


@pytest.mark.slow
def test_the_example_of_the_help_certifies_the_bundled_model_on_each_engine(
    apr: Apr, tmp_path, monkeypatch, capfd
) -> None:
    """The command line as it is printed, the whole playbook, the released program, which does not hold."""
    shutil.copytree(TINY_QWEN2, tmp_path / "models" / "tiny-qwen2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(apr.home))
    monkeypatch.setenv("PATH", str(apr.path.parent), prepend=":")
    example = examples_of(COMMANDS["engines"])[1]
    assert "--apr-binary apr" in example
    assert call(shlex.split(example)[1:]) == 1
    shown = capfd.readouterr().out
    rows = dict(re.findall(r"^  (torch|llama|apr) +(NOT RUN|[A-Z]+) ", shown, re.M))
    assert (rows["torch"], rows["apr"]) == ("CERTIFIED", "BLOCKED")
    assert int(re.search(r"^Verdicts that differ: (\d+) gates$", shown, re.M)[1]) >= 5
    assert re.search(r"G2-BASIC .*: torch Corroborated.*apr Falsified", shown)
