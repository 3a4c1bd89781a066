"""The help of every command has examples, whole and on lines of their own; those that need no model are run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from pytest_aprqa.cli.examples import examples_of
from pytest_aprqa.cli.main import call
from pytest_aprqa.registry.readme_table import END, START
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import update_registry
from pytest_aprqa.reporting.report_files import write_reports
from tests.cli.all_commands import COMMANDS
from tests.reporting.attempt_factory import attempt, scored, small_run

ROOT = Path(__file__).resolve().parents[2]
NO_RESULTS = {"completion"}  # prints a script
# Examples of these need the weights of a model: `test_examples_with_a_model.py` runs those that do not need
# the `apr` program or another engine, `test_examples_of_runs.py` those of `engines` and the one of `certify` that is
# no dry run, `tests/real_apr` that of `tools`, and of `engines` again with the real program.
NEED_A_MODEL = {
    "check", "defects apply", "derive", "diagnose-conversion", "engines", "inspect", "parity", "tools",
    "validate-contract", "verify", "merge", "baseline",
}  # fmt: skip
CODES = {"compare": 1, "doctor": None}  # 1: the later run is worse; None: what the machine has decides

EXAMPLES = [(name, example) for name, command in COMMANDS.items() for example in examples_of(command)]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_on_a_line_of_its_own(name, capsys):
    assert call([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    examples = examples_of(COMMANDS[name])
    assert examples
    for example in examples:
        assert f"\n    {example}\n" in shown + "\n"
        assert example.startswith(f"aprqa {name}")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NO_RESULTS))
def test_every_command_that_prints_results_prints_them_as_json(name):
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_options_of_the_examples_exist(name, example):
    words = shlex.split(example)[1 + len(name.split()) :]
    known = {flag for parameter in COMMANDS[name].params for flag in parameter.opts}
    if name == "run":  # passes on what pytest knows
        known |= {"--dry-run", "-n"}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as the examples presume it: playbooks, two runs, a published object, a registry, a README."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(ROOT / "playbooks", folder / "playbooks")
    for name, entries in (("latest", small_run()), ("20260101T000000Z-mvp", [attempt()])):
        (folder / "evidence" / name).mkdir(parents=True)
        write_reports(folder / "evidence" / name, entries, scored(entries))
    (folder / "recorded").mkdir()
    (folder / "recorded" / "evidence.json").write_text(json.dumps([attempt().to_dict()]))
    certifications = folder / "docs" / "certifications"
    certifications.mkdir(parents=True)
    row = RegistryRow.new("Qwen/Qwen2.5-Coder-0.5B-Instruct", family="qwen-coder")
    update_registry(certifications / "models.csv", lambda table: table.put(row), create=True)
    (certifications / "README.md").write_text(f"{START}\n{END}\n")
    published = ["export-evidence", str(folder / "evidence" / "latest"), "--output-dir", str(folder / "published")]
    assert call(published) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "example"),
    [(n, e) for n, e in EXAMPLES if n not in NEED_A_MODEL and (n != "certify" or "--dry-run" in e)],
)
def test_examples_do_what_they_say(name, example, place, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("HOME", "HF_HOME", "APRQA_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    words = shlex.split(example.replace("~", str(tmp_path)))[1:]
    code = call(words)
    shown = capfd.readouterr()
    assert code == CODES.get(name, 0) or CODES.get(name, 0) is None, shown.err
    assert shown.out
    if "--json" in words:
        json.loads(shown.out)
