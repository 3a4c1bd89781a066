"""Every command with every path it takes being something else: one line, a documented exit code, no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import click
import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.registry.readme_table import END, START
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import update_registry
from tests.cli.all_commands import COMMANDS
from tests.reporting.attempt_factory import small_run

# What a command needs beside the paths.
BASES = {
    "bootstrap": ["qwen2", "1.5b", "--hf-repo", "acme/Model-1B", "--dry-run"],
    "certify": ["acme/Model-1B", "--dry-run"],
    "defects apply": ["tensor-missing"],
    "derive": ["--format", "gguf"],
    "engines": ["--engine", "torch"],
    "generate": ["acme/Model-1B", "-c", "1"],
}
NO_PATHS = {"completion", "defects list", "doctor", "generate", "list"}
NOBODY = 65534
CODES = (0, 1, 2)
KINDS = ("missing", "folder", "empty", "not UTF-8", "text", "JSON of another kind", "deep JSON", "link to nowhere")


def path_parameters(command):
    for parameter in command.params:
        if isinstance(parameter.type, click.Path) or parameter.name in ("playbook", "apr_binary"):
            yield parameter


def made(kind, folder):
    """A path of KIND in FOLDER, with the ending that a command may look at."""
    path = folder / f"{kind.replace(' ', '-')}.json"
    content = {
        "empty": b"",
        "not UTF-8": b"\xff\xfe\x00\xd8" * 9,
        "text": b"# hello\n",
        "JSON of another kind": b'{"evidence": {"a": [1, null]}, "x": 1e999}',
        "deep JSON": b"[" * 100_000,
    }
    if kind == "folder":
        path.mkdir()
        (path / "config.json").write_bytes(b"\xff\xfe")
    elif kind == "link to nowhere":
        path.symlink_to(folder / "nowhere")
    elif kind in content:
        path.write_bytes(content[kind])
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A right value for each path parameter by its name; any other gets an evidence.json."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "evidence.json").write_text(json.dumps([entry.to_dict() for entry in small_run()]))
    row = RegistryRow.new("acme/Model-1B", family="acme")
    update_registry(folder / "models.csv", lambda table: table.put(row), create=True)
    (folder / "README.md").write_text(f"{START}\n{END}\n")
    values = {"registry": "models.csv", "readme": "README.md", "evidence_dir": "", "folder": "", "output": "out"}
    return {name: folder / file for name, file in values.items()} | {"": folder / "evidence.json"}


def arguments_of(name, command, tried, bad, good):
    """The command with BAD where TRIED stands and what is right at every other path that it must have."""
    options, positional = [], []
    for parameter in path_parameters(command):
        value = str(bad if parameter is tried else good.get(parameter.name, good[""]))
        if isinstance(parameter, click.Argument):
            if parameter is tried or parameter.required:
                positional.append(value)
        elif parameter is tried or parameter.required or parameter.name in ("registry", "readme"):
            options += [parameter.opts[0], value]
    return [*name.split(), *BASES.get(name, []), *positional, *options]


PAIRS = [
    (name, parameter.name, kind)
    for name, command in COMMANDS.items()
    for parameter in path_parameters(command)
    for kind in KINDS
    if name != "run" or kind in ("missing", "folder", "not UTF-8")  # each starts a pytest
]


def test_every_command_is_walked():
    assert {name for name, _, _ in PAIRS} | NO_PATHS == set(COMMANDS)
    assert set(BASES) <= set(COMMANDS)


@pytest.fixture
def place(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("HF_HOME", "HOME", "APRQA_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return work


def assert_one_line(code, shown):
    assert code in CODES
    assert "Traceback" not in shown.out + shown.err
    if code in (1, 2) and not shown.out:
        told = [line for line in shown.err.splitlines() if line]  # pytest, in `run`, leaves a line empty after its own
        errors = [line for line in told if not line.startswith(("warning: ", "dimensions: "))]
        assert len(errors) == 1, shown.err
        assert errors[0].startswith(("error: ", "ERROR: "))
        assert len(errors[0]) > len("error: x")


@pytest.mark.parametrize(("name", "parameter", "kind"), PAIRS, ids=lambda value: value.replace(" ", "-"))
def test_a_path_that_is_something_else_is_one_line(name, parameter, kind, place, good, tmp_path, capfd):
    command = COMMANDS[name]
    tried = next(one for one in command.params if one.name == parameter)
    code = call(arguments_of(name, command, tried, made(kind, tmp_path), good))
    assert_one_line(code, capfd.readouterr())


@contextlib.contextmanager
def as_another_user():
    """Root, who may read every file, is nobody for a while; anybody else stays who they are."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


@pytest.fixture
def locked():
    """A file that its owner alone could open, in a folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "locked.json").write_text("[]")
    yield folder / "locked.json"
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users and permissions of files")
@pytest.mark.parametrize("name", sorted({name for name, _, _ in PAIRS} - {"run"}))
def test_a_file_that_may_not_be_read_is_one_line(name, place, good, locked, capfd):
    arguments = arguments_of(name, COMMANDS[name], next(path_parameters(COMMANDS[name])), locked, good)
    call(arguments)  # whatever it imports is imported now: the interpreter itself may be out of nobody's reach
    capfd.readouterr()
    locked.chmod(0)
    with as_another_user():
        code = call(arguments)
    assert code != 0
    assert_one_line(code, capfd.readouterr())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"run"}))
@pytest.mark.parametrize("argument", ["--no-such-option", "--help=1"])
def test_an_option_that_does_not_exist_is_wrong_use(name, argument, place, capfd):
    assert call([*name.split(), argument]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if any(p.required for p in COMMANDS[name].params)))
def test_what_is_required_is_asked_for(name, place, capfd):
    assert call(name.split()) == 2
    shown = capfd.readouterr()
    assert "Missing" in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, parameter.opts[-1])
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and isinstance(parameter.type, (click.Choice, click.types.IntParamType))
    ],
)
def test_a_value_that_is_none_of_the_choices_is_wrong_use(name, option, place, capfd):
    assert call([*name.split(), option, "\x1b[31mnope"]) == 2
    shown = capfd.readouterr()
    assert shown.err.count("\n") == 1
    assert "\x1b" not in shown.err
