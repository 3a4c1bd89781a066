"""The examples of `certify` and `engines` that run models, as they are shown: a tiny model and a stand-in `apr`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from pytest_aprqa.cli.examples import examples_of
from pytest_aprqa.cli.main import call
from pytest_aprqa.lifecycle.cache import cache_folder
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import read_registry, update_registry
from tests.cli.all_commands import COMMANDS
from tests.plugin.conftest import TINY_MODEL

ROOT = Path(__file__).resolve().parents[2]
FAKE_APR = ROOT / "tests" / "engines" / "fake_apr.py"
CODER = "Qwen/Qwen2.5-Coder-0.5B-Instruct"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to stand in, with a home of its own below it."""
    for variable in ("HOME", "HF_HOME", "APRQA_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_as_shown(example, capfd):
    """(exit code, output) of a command line with `~` as a shell takes it."""
    capfd.readouterr()
    words = [os.path.expanduser(word) for word in shlex.split(example)]
    code = call(words[1:])
    shown = capfd.readouterr()
    return code, shown.out + shown.err


def test_the_example_of_certify_certifies_a_family_of_the_cache(place, capfd):
    """The packaged playbook of a published model, on a tiny model that stands where that model would."""
    shutil.copytree(TINY_MODEL, place / "home" / "models" / CODER)
    registry = place / "docs" / "certifications" / "models.csv"
    registry.parent.mkdir(parents=True)
    update_registry(registry, lambda table: table.put(RegistryRow.new(CODER, family="qwen-coder")), create=True)
    code, shown = run_as_shown(examples_of(COMMANDS["certify"])[0], capfd)
    assert code == 0, shown
    assert "qwen2.5-coder-0.5b-smoke.playbook.yaml" in shown
    row = read_registry(registry).rows[CODER]
    assert (row["status"], row["certified_tier"]) in (("PROVISIONAL", "smoke"), ("CERTIFIED", "smoke"))
    assert (place / "certifications" / "qwen2-5-coder-0-5b-instruct" / "evidence.json").is_file()


def test_the_first_example_of_engines_asks_both_or_says_why_not(place, capfd):
    shutil.copyfile(derive(TINY_MODEL, "gguf", cache=cache_folder()).path, place / "model.gguf")
    code, shown = run_as_shown(examples_of(COMMANDS["engines"])[0], capfd)
    assert code == 0, shown
    assert "model.gguf (gguf) on torch" in shown
    if "on llama: skipped" in shown:
        assert "install pytest-aprqa[llama]" in shown
    else:
        assert re.search(r"on llama .*: as the first", shown)


@pytest.mark.slow
def test_the_second_example_of_engines_certifies_on_each(place, monkeypatch, capfd):
    """The playbook's name finds a short one here; the whole takes minutes and is run in tests/real_apr."""
    shutil.copytree(TINY_MODEL, place / "models" / "tiny-qwen2")
    whole = yaml.safe_load((ROOT / "playbooks" / "models" / "tiny-qwen2-mvp.playbook.yaml").read_text())
    short = {name: whole[name] for name in ("name", "version", "model")}
    short["model"] |= {"formats": ["safetensors"]}
    short["test_matrix"] = {"modalities": ["run"], "backends": ["cpu"], "scenario_count": 1, "prompts": ["2+2="]}
    (place / "playbooks" / "models").mkdir(parents=True)
    (place / "playbooks" / "models" / "tiny-qwen2-mvp.playbook.yaml").write_text(yaml.safe_dump(short))
    program = place / "bin" / "apr"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n" + FAKE_APR.read_text(encoding="utf-8"), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    code, shown = run_as_shown(examples_of(COMMANDS["engines"])[1], capfd)
    assert code == 1, shown  # what the stand-in answers is no answer of the model
    assert "model.safetensors (safetensors) on apr 0.72.3: 6 of 6 answers differ" in shown
    rows = dict(re.findall(r"^  (torch|llama|apr) +(NOT RUN|[A-Z]+) ", shown, re.M))
    assert rows["torch"] in ("PROVISIONAL", "CERTIFIED"), shown
    assert rows["apr"] == "BLOCKED"
    assert "Verdicts that differ: " in shown
