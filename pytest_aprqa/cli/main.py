"""The `aprqa` group: commands are imported when they are called, errors are one line, exit codes are documented here.

0 done; 1 bad input or a failed run; 2 wrong use of the command line; 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from pytest_aprqa import __version__

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143

# name -> (module, what `aprqa --help` says)
COMMANDS: dict[str, tuple[str, str]] = {
    "bootstrap": (
        "pytest_aprqa.cli.bootstrap",
        "Write a first playbook of a model from its config.json or a contract.",
    ),
    "baseline": ("pytest_aprqa.cli.baseline", "Save the speeds of a run, to hold later runs against."),
    "certify": ("pytest_aprqa.cli.certify", "Run the playbooks of models, a family or all, and update the registry."),
    "check": ("pytest_aprqa.cli.check", "Try to refute that a file is the model of a SafeTensors folder."),
    "compare": ("pytest_aprqa.cli.compare", "Compare two runs: what got better, what got worse."),
    "completion": ("pytest_aprqa.cli.completion", "Print the script that completes aprqa in bash, zsh or fish."),
    "defects": ("pytest_aprqa.cli.defects", "List seeded defects, or break a copy of a model with one."),
    "derive": ("pytest_aprqa.cli.derive", "Make the GGUF or APR form of a SafeTensors model."),
    "diagnose-conversion": (
        "pytest_aprqa.cli.diagnose_conversion",
        "Say which of the invariants I-1 to I-5 a conversion breaks.",
    ),
    "doctor": ("pytest_aprqa.cli.doctor", "Look at what this machine offers to a run."),
    "engines": ("pytest_aprqa.cli.engines", "Ask every engine the same prompts and show what they disagree about."),
    "export-csv": ("pytest_aprqa.cli.export_csv", "Write the registry's rows of recorded evidence."),
    "export-evidence": ("pytest_aprqa.cli.export_evidence", "Write the evidence of a model as one published object."),
    "generate": ("pytest_aprqa.cli.generate", "Generate scenarios of a model, by seed."),
    "inspect": (
        "pytest_aprqa.cli.inspect",
        "Show what a model file declares: tensors, types, configuration, tokenizer.",
    ),
    "list": ("pytest_aprqa.cli.list_models", "List the published models whose playbooks are packaged."),
    "lock-playbooks": ("pytest_aprqa.cli.lock_playbooks", "Write down the digests of all playbooks, or check them."),
    "merge": ("pytest_aprqa.cli.merge", "Join the evidence of shards into one run."),
    "parity": ("pytest_aprqa.cli.parity", "Record golden answers of transformers and compare artifacts with them."),
    "playbook": ("pytest_aprqa.cli.playbook", "Check playbooks, or write those of known models."),
    "readme-sync": ("pytest_aprqa.cli.readme_sync", "Write the table of the registry into a README."),
    "report": ("pytest_aprqa.cli.report", "Rebuild the reports of a run from its evidence."),
    "run": ("pytest_aprqa.cli.run", "Run a playbook (pytest --playbook)."),
    "score": ("pytest_aprqa.cli.score", "Compute the model qualification score of recorded evidence."),
    "tickets": ("pytest_aprqa.cli.tickets", "Make tickets of the failures of a run."),
    "tools": ("pytest_aprqa.cli.tools", "Run the tools of the apr program on a file and judge what they print."),
    "validate-contract": (
        "pytest_aprqa.cli.validate_contract",
        "Check shapes and bytes against the tensor layout contract.",
    ),
    "verify": ("pytest_aprqa.cli.verify", "Check a certificate against its evidence, its files and new runs."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, so that `aprqa --help` needs no numpy and no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command; its function is called `command`."""
        if cmd_name not in COMMANDS:
            return None
        from pytest_aprqa.cli.examples import with_examples_apart

        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return with_examples_apart(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="aprqa", message="%(prog)s %(version)s")
def cli() -> None:
    """Qualify language-model artifacts (SafeTensors, APR, GGUF) by trying to refute them.

    Runs are started with `pytest --playbook NAME` or `aprqa run NAME`; the other commands work on files.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the program. Never returns; bad input is one line on standard error, not a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    _open_closed_streams()
    _show_all_letters()
    sys.exit(call(sys.argv[1:] if arguments is None else arguments))


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    program = "apr-qa" if Path(sys.argv[0]).name == "apr-qa" else "aprqa"
    try:
        code = cli.main(args=list(arguments), prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.ctx.get_help() if shown.ctx else str(shown), err=True)
        return USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else program
        return _fail(f"{error.format_message().rstrip('.')}; see {command} --help", USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone (`aprqa ... | head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", FAILED)
    except UnicodeEncodeError as error:
        if (problem := _not_encoded(error)) is None:
            raise
        return _fail(problem, FAILED)
    except (ValueError, RuntimeError, LookupError) as error:
        if not type(error).__module__.startswith("pytest_aprqa."):
            raise
        return _fail(str(error), FAILED)
    return code if isinstance(code, int) else 0


def _open_closed_streams() -> None:
    """Where the shell closed a stream (`aprqa ... >&-`) the next file that is opened would take its place.

    Children get what stands there, as they get any standard stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor == number:  # the lowest number that is free
                os.set_inheritable(descriptor, True)
                mode = "w" if number else "r"
                setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
            else:
                os.close(descriptor)


def _show_all_letters() -> None:
    """A terminal without the letters of a name still shows the rest. With UTF-8, bytes that are no text go through."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        through = sys.stdout.errors == "surrogateescape" and _is_utf8(sys.stdout.encoding)
        if sys.stdout.errors in ("strict", "surrogateescape") and not through:
            sys.stdout.reconfigure(errors="backslashreplace")


def _not_encoded(error: UnicodeEncodeError) -> str | None:
    """What is wrong with a text that was given or with this environment; None where it is a mistake of ours."""
    letters = ascii(error.object[error.start : error.end])
    if error.reason == "surrogates not allowed":  # bytes that were no text, half a letter of JSON
        return f"a name or text is not UTF-8: {letters} in {error.object[:80]!a}; rename it"
    of_files, of_output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "utf-8"
    if error.encoding in (of_files, of_output) and not _is_utf8(error.encoding):
        return f"{letters} cannot be written in {error.encoding}, which this environment asks for; set PYTHONUTF8=1"
    return None


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def _fail(message: str, code: int) -> int:
    from pytest_aprqa.reporting.hostile_text import one_line

    click.echo(f"error: {one_line(message)}", err=True)
    return code


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    main()
