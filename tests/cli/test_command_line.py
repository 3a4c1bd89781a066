import os
import shlex
import subprocess
import sys
from itertools import combinations
from pathlib import Path

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
        (
            UnicodeEncodeError("utf-8", "a\udcffb", 1, 2, "surrogates not allowed"),
            1,
            "error: a name or text is not UTF-8: '\\udcff' in 'a\\udcffb'; rename it\n",
        ),
    ],
)
def test_errors_are_one_line_with_the_documented_code(error, code, said, capsys, monkeypatch):
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: raising(error))
    assert call(["score"]) == code
    assert capsys.readouterr().err.lstrip("\n") == said


@pytest.mark.parametrize("error", [ValueError("a bug"), UnicodeEncodeError("ascii", "\u00e9", 0, 1, "a bug")])
def test_a_mistake_of_ours_keeps_its_traceback(error, monkeypatch):
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: raising(error))
    with pytest.raises(ValueError, match="a bug"):
        call(["score"])


NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("environment", "body", "code", "out", "err"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, "click.echo('\\u6f22\\xe9')", 0, b"\\u6f22\xe9\n", b""),
        ({"PYTHONIOENCODING": "latin-1:surrogateescape"}, "click.echo('\\u6f22\\udcff')", 0, b"\\u6f22\\udcff\n", b""),
        ({"PYTHONIOENCODING": "utf-8:surrogateescape"}, "click.echo('\\u6f22\\udcff')", 0, b"\xe6\xbc\xa2\xff\n", b""),
        (NO_UTF8, "print('\\u6f22')", 0, b"\\u6f22\n", b""),
        (
            NO_UTF8,
            "open('/\\u6f22')",
            1,
            b"",
            b"error: '\\u6f22' cannot be written in ascii, which this environment asks for; set PYTHONUTF8=1\n",
        ),
    ],
)
def test_letters_that_the_environment_does_not_have(environment, body, code, out, err):
    """Shown as escapes; as the name of a file they are an error that says what to set."""
    program = (
        "import click; from pytest_aprqa.cli import main;"
        f"main.LazyGroup.get_command = lambda *_: click.command()(lambda: {body} and None); main.main(['score'])"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


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


CLOSED = [" ".join(some) for count in (1, 2, 3) for some in combinations(("<&-", ">&-", "2>&-"), count)]


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("arguments", "code"), [("list", 0), ("score nothing-here", 2)])
def test_closed_streams_change_no_exit_code(arguments, code, closed, tmp_path):
    program = f"{shlex.quote(sys.executable)} -m pytest_aprqa.cli.main {arguments}"
    done = subprocess.run(["sh", "-c", f"{program} {closed}"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", CLOSED)
def test_a_child_of_a_command_has_the_streams_that_were_closed(closed, tmp_path):
    """`aprqa run` starts a pytest. What it may say anywhere goes to a file here: its streams say nothing any more."""
    module = tmp_path / "streams_of_a_child.py"
    module.write_text(
        "import os, pathlib\n\ndef is_open(number):\n    try:\n        return bool(os.fstat(number))\n"
        "    except OSError:\n        return False\n\n"
        "told = ' '.join(str(n) for n in range(3) if is_open(n))\npathlib.Path('streams').write_text(told)\n"
    )
    program = f"{shlex.quote(sys.executable)} -m pytest_aprqa.cli.main run no-such-playbook -p {module.stem} {closed}"
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    done = subprocess.run(
        ["sh", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (2, False), done.stdout + done.stderr
    assert (tmp_path / "streams").read_text() == "0 1 2"


def test_where_the_reader_has_gone_nothing_more_is_said_and_the_code_is_1():
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
