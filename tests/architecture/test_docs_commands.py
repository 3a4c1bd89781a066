"""Every command in the documentation is one that works: programs, options, playbooks, paths and make targets exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "benchmarks" / "README.md",
    *sorted((REPOSITORY / "examples").rglob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
# Programs that are not ours: they are only known by name.
FOREIGN = {"hf", "source", "cat", "cp", "openssl"}


def commands() -> list[tuple[str, str]]:
    """(page, command) for every line of every console block."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = [line for line in block.splitlines() if line.strip()]
            found += [(str(page.relative_to(REPOSITORY)), line) for line in lines]
    return found


def of_program(name: str):
    return [
        pytest.param(command, id=f"{page}: {command}")
        for page, command in dict.fromkeys(commands())
        if program_of(command) == name
    ]


def program_of(command: str) -> str:
    return Path(shlex.split(command)[0]).name


def test_every_command_is_of_a_known_kind():
    programs = {program_of(command) for _, command in commands()}
    assert programs <= {"make", "pytest", "aprqa"} | FOREIGN
    assert {"make", "pytest", "aprqa"} <= programs


@pytest.mark.parametrize("command", of_program("make"))
def test_make_targets_exist(command):
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(shlex.split(command)[1:]) <= set(targets)


@pytest.mark.parametrize("command", of_program("pytest"))
def test_pytest_commands_collect(command, tmp_path):
    """Collected only: a wrong option, playbook, check file or expression is seen, no model is loaded."""
    arguments = [
        str(REPOSITORY / word) if (REPOSITORY / word).exists() and "/" in word else word
        for word in shlex.split(command)[1:]
    ]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_aprqa.plugin", "-p", "xdist", *arguments, "--co", "-q"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert re.search(r"\.playbook\.yaml(::test_|::falsify|: \d+)", result.stdout), result.stdout[-2000:]


@pytest.mark.parametrize("command", of_program("aprqa"))
def test_aprqa_commands_parse(command, tmp_path, monkeypatch):
    """The command line is parsed as click does it, with every path there; nothing is run."""
    import click

    from pytest_aprqa.cli.main import cli

    words = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)
    for word in words:
        if word == "model.gguf" or word.endswith((".pem", ".pub")):
            (tmp_path / word).touch()
        if word == "playbooks":
            (tmp_path / word).mkdir()
        if "/" in word and not word.startswith("-"):
            source = REPOSITORY / word
            if source.exists():
                words[words.index(word)] = str(source)
            elif Path(word).suffix == "" and "evidence" in word:
                (tmp_path / word).mkdir(parents=True)
            elif word.endswith("whole.gguf"):
                (tmp_path / word).parent.mkdir(exist_ok=True)
                (tmp_path / word).touch()
    command_: click.Command = cli
    context = click.Context(cli, info_name="aprqa")
    while isinstance(command_, click.Group):
        _, found, words = command_.resolve_command(context, words)
        assert found is not None
        command_, context = found, click.Context(found, info_name=found.name, parent=context)
    command_.make_context(command_.name, words, parent=context.parent)


@pytest.mark.parametrize("command", [c for c in of_program("aprqa") if "defects apply" in str(c.id)])
def test_defects_of_the_documentation_exist(command):
    from pytest_aprqa.defects.catalogue import DEFECTS

    assert shlex.split(command)[3] in DEFECTS


def test_defects_named_in_the_explanation_exist():
    from pytest_aprqa.defects.catalogue import DEFECTS

    text = (REPOSITORY / "docs" / "explanation" / "gateways.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:G\d|I-\d).*\| ([^|]*) \|$", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert len(named) >= 10
    assert named <= set(DEFECTS)


def test_the_table_of_settings_is_the_codes():
    """docs/how-to/settings.md repeats options and ini keys for the reader; the names must be those of the code."""
    from pytest_aprqa.options import OPTIONS

    text = (REPOSITORY / "docs" / "how-to" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `(--[a-z-]+)`[^|]* \| `(aprqa_\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted((option.flag, option.ini) for option in OPTIONS)


def test_the_table_of_tiers_is_the_codes():
    from pytest_aprqa.playbooks.tiers import tiers

    text = (REPOSITORY / "docs" / "how-to" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\d+) \|$", text, re.MULTILINE)
    assert [(name, int(threshold)) for name, _, threshold in rows] == [(t.name, t.threshold) for t in tiers()]
    for (_, part, _), tier in zip(rows, tiers(), strict=True):
        number = re.search(r"first (\d+)?", part)
        assert (number is None) == (tier.per_cell is None)
        assert number is None or int(number[1] or 1) == tier.per_cell


def test_the_table_of_policies_is_the_codes():
    from pytest_aprqa.playbooks.policies import FailurePolicy

    text = (REPOSITORY / "docs" / "how-to" / "settings.md").read_text(encoding="utf-8")
    section = text.split("## Failure policy")[1].split("## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (\w+)", section, re.MULTILINE))
    assert set(rows) == {policy.value for policy in FailurePolicy}
    for policy in FailurePolicy:
        halts = (policy.halts_after(gateway_failed=True), policy.halts_after(gateway_failed=False))
        assert halts == {"nothing": (False, False), "a": (True, False), "any": (True, True)}[rows[policy.value]]
