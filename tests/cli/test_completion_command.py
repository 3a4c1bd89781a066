"""Shell completion: the scripts are what shells accept, and what they ask of the program is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pytest_aprqa.cli.main import call

PROGRAM = "import sys; from pytest_aprqa.cli.main import main; sys.argv[0] = {name!r}; main()"


def asked(words, name="aprqa", shell="bash"):
    """What the program answers to a completion request for WORDS, the last of which is being typed."""
    variable = "_" + name.replace("-", "_").upper() + "_COMPLETE"
    request = {variable: f"{shell}_complete", "COMP_WORDS": " ".join([name, *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)],
        env=os.environ | request, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_and_choices_are_completed():
    assert asked(["export"]) == ["export-csv", "export-evidence"]
    assert asked(["report", "x", "--form"]) == ["--formats"]
    assert asked(["report", "x", "--formats", "j"]) == ["junit", "json"]
    assert asked(["playbook", "ch"]) == ["check"]


def test_the_second_name_is_completed_too():
    assert asked(["export"], name="apr-qa") == ["export-csv", "export-evidence"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid_where_the_shell_is_here(shell, capsys, tmp_path):
    assert call(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_APRQA_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine: its script was looked at, not run")
    path = tmp_path / "script"
    path.write_text(script)
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes_a_command(tmp_path, capsys):
    assert call(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    program = tmp_path / "aprqa"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest_aprqa.cli.main "$@"\n')
    program.chmod(0o755)
    lines = [script, "COMP_WORDS=(aprqa export-e)", "COMP_CWORD=1", "_aprqa_completion aprqa", 'echo "${COMPREPLY[@]}"']
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "export-evidence"


def test_another_shell_is_wrong_use(capsys):
    assert call(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
