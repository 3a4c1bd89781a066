"""Every option of every command with values that people mistype: one line, a documented exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from pytest_aprqa.cli.main import call
from tests.cli import test_bad_arguments
from tests.cli.all_commands import COMMANDS

VALUES = ("", "-1", "nan", "9" * 5000, "a\nb", "\udcff", "../..", "/dev/null")
good, place = test_bad_arguments.good, test_bad_arguments.place


def value_options(command):
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            yield parameter.opts[0]


PAIRS = [(name, option) for name in COMMANDS for option in value_options(COMMANDS[name])]
APART = {("playbook write", "--schema")}  # writes a hundred files for each value; below


@pytest.mark.parametrize(
    ("name", "option"), [pair for pair in PAIRS if pair not in APART], ids=lambda value: value.replace(" ", "-")
)
def test_a_mistyped_value_is_one_line(name, option, place, good, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(place))  # no `apr` that would look at the files
    arguments = test_bad_arguments.arguments_of(name, COMMANDS[name], None, None, good)
    for value in VALUES:
        code = call([*arguments, option, value])
        test_bad_arguments.assert_one_line(code, capfd.readouterr())


@pytest.mark.parametrize("schema", ["a\nb: 1", "\udcff"])
@pytest.mark.parametrize("name", ["bootstrap", "playbook write"])
def test_the_name_of_a_schema_cannot_add_lines_to_a_playbook(name, schema, place, good, capfd):
    arguments = test_bad_arguments.arguments_of(name, COMMANDS[name], None, None, good)
    assert call([*arguments, "--schema", schema]) == 1
    shown = capfd.readouterr()
    assert "is no name of a schema" in shown.err
    assert not shown.out


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    (tmp_path / "\u6f22.playbook.yaml").write_text("name: [\n", encoding="utf-8")
    program = [sys.executable, "-m", "pytest_aprqa.cli.main", "playbook", "check", "."]
    done = subprocess.run(
        program, cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "\\u6f22.playbook.yaml:2:" in done.stdout
