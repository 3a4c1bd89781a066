import shlex
import subprocess
import sys

import click
import pytest

from pytest_aprqa import __version__
from pytest_aprqa.cli import main
from pytest_aprqa.cli.main import COMMANDS, call


def test_help_names_every_command(capsys):
    assert call(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_and_the_short_text_of_the_table(command, capsys):
    assert call([command, "--help"]) == 0
    assert "Usage: aprqa" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"aprqa {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["score"], ["score", "--nonsense"], ["report", "--formats", "pdf", "."]]
)
def test_wrong_use_is_exit_code_2_on_standard_error(arguments, capsys):
    assert call(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err
    if arguments:
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1


def raising(error):
    @click.command()
    def command():
        raise error

    return command


class BadFile(ValueError):
    """Stands for a typed error of one of our rooms."""

    __module__ = "pytest_aprqa.formats.errors"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadFile("m.gguf: header: truncated"), 1, "error: m.gguf: header: truncated\n"),
        (BadFile("a\nb\x1b[31m"), 1, "error: a\\nb\\x1b[31m\n"),
        (PermissionError(13, "Permission denied", "/x/report.md"), 1, "error: /x/report.md: Permission denied\n"),
        (click.ClickException("no"), 1, "error: no\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_errors_are_one_line_with_the_documented_code(error, code, said, capsys, monkeypatch):
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: raising(error))
    assert call(["score"]) == code
    assert capsys.readouterr().err.lstrip("\n") == said


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: raising(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        call(["score"])


HEAVY = {
    "numpy", "torch", "transformers", "jinja2", "yaml", "rich", "pytest", "jsonschema", "hypothesis", "httpx",
    "tokenizers", "gguf", "multiprocessing", "importlib.metadata", "filelock",
}  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["certify", "--help"], ["completion", "--help"]])
def test_help_needs_no_heavy_library(arguments):
    code = (
        f"import sys; from pytest_aprqa.cli.main import call; call({arguments});"
        f"sys.exit(', '.join(sorted({HEAVY} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminated_command_exits_with_143(tmp_path):
    code = (
        "import os, signal; from pytest_aprqa.cli import main;"
        "main.call = lambda _: os.kill(os.getpid(), signal.SIGTERM); main.main([])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 143


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("list", 0), ("score nothing-here", 2)])
def test_closed_streams_change_no_exit_code(arguments, code, closed, tmp_path):
    program = f"{shlex.quote(sys.executable)} -m pytest_aprqa.cli.main {arguments}"
    done = subprocess.run(["sh", "-c", f"{program} {closed}"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_gone_is_no_error():
    program = [sys.executable, "-m", "pytest_aprqa.cli.main", "defects", "list"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)


@pytest.mark.parametrize("arguments", [["--version"], ["score"], ["tools", "--help"], ["list", "--size", "tiny"]])
def test_the_second_name_behaves_the_same(arguments, capsys, monkeypatch):
    shown = {}
    for name in ("aprqa", "apr-qa"):
        monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}"])
        code = call(arguments)
        out, err = capsys.readouterr()
        # Wrapping depends on the length of the name; examples and --version name the program itself.
        shown[name] = (code, "".join((out + err).replace(f"{name} ", "aprqa ").split()))
    assert shown["aprqa"] == shown["apr-qa"]
