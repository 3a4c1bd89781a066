"""`aprqa run PLAYBOOK`: pytest with the plugin and the playbook; what pytest understands is passed on as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FAILED, USAGE, INTERRUPTED = 1, 2, 130
PYTEST_INTERRUPTED, PYTEST_USAGE = 2, 4
GRACE_SECONDS = 10.0  # that a pytest which was told to end may take

# Spellings of the earlier command-line tool -> pytest's or the plugin's. A None value: the option takes an argument.
_RENAMED = {"-o": "--evidence-dir", "--output": "--evidence-dir", "--timeout": "--scenario-timeout", "--workers": "-n"}
# Options of the earlier tool that are said elsewhere here, and where.
_ELSEWHERE = {
    "--skip-conversion-tests": "choose checks with -k or -m, as in pytest",
    "--run-tool-tests": "run aprqa tools FILE",
    "--profile-ci": "set profile_ci.enabled in the playbook",
    "--no-differential": "leave differential_tests out of the playbook",
    "--no-trace-payload": "leave trace_payload out of the playbook",
    "--hf-parity": "compare with aprqa parity, or set the block hf_parity of the playbook",
    "--hf-corpus-path": "name the corpus to aprqa parity",
    "--hf-model-family": "give --model-family to aprqa parity",
}
_REPLACED = {"--fail-fast": ("--failure-policy", "fail-fast"), "--dry-run": ("--collect-only", "-q")}


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("playbook")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Folder, outcomes and score as JSON; pytest on standard error.")
@click.pass_context
def command(ctx: click.Context, playbook: str, pytest_arguments: tuple[str, ...], as_json: bool) -> None:
    """Run PLAYBOOK (a path or a name) with pytest; further arguments go to pytest.

    `aprqa run tiny-qwen2-mvp -n 4` is `pytest --playbook tiny-qwen2-mvp -n 4`. Also understood: -o/--output DIR
    (evidence folder; FILE.json: evidence.json is copied there, the rest goes to a folder FILE beside it), --timeout MS
    (per scenario), --workers N, --fail-fast, --dry-run. Everything after `--` is passed on unread.
    Exit codes: 0 passed, 1 failures, 2 wrong use, as a playbook that cannot be read or a model that is nowhere
    (of pytest itself 4), 5 no test, 130 interrupted, 143 terminated.
    Example: aprqa run tiny-qwen2-mvp --dry-run
    """
    for argument in before_dashes(pytest_arguments):
        if (advice := _ELSEWHERE.get(argument.partition("=")[0])) is not None:
            raise click.UsageError(f"{argument.partition('=')[0]} is of an earlier tool: {advice}")
    pytest_arguments, wanted_file = evidence_file_of(pytest_arguments)
    arguments = arguments_for_pytest(playbook, pytest_arguments)
    earlier = _state_of_evidence(wanted_file)
    code, facts = (exit_code(run_pytest(arguments)), {}) if not as_json else _with_result(arguments)
    if wanted_file is not None and _state_of_evidence(wanted_file) != earlier:  # else pytest has said why
        _copy_evidence(wanted_file)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "folder": None, "outcomes": {}, "score": None} | facts, indent=2))
    ctx.exit(code)


def before_dashes(given: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments up to `--`."""
    return given[: given.index("--")] if "--" in given else given


def evidence_file_of(given: tuple[str, ...]) -> tuple[tuple[str, ...], Path | None]:
    """(arguments, FILE) where `-o FILE.json` became the folder FILE; (arguments, None) for a folder or nothing."""
    arguments, file = list(given), None
    for number, argument in enumerate(before_dashes(given)):
        name, equals, value = argument.partition("=")
        if name not in ("-o", "--output"):
            continue
        place = number if equals else number + 1
        value = value if equals else (*arguments, "")[place]
        if value.lower().endswith(".json"):
            file = Path(value)
            arguments[place] = f"{name}={file.with_suffix('')}" if equals else str(file.with_suffix(""))
    return tuple(arguments), file


def _state_of_evidence(file: Path | None) -> tuple[int, ...] | None:
    """What tells the evidence.json of this run from that of an earlier one in the same folder; None: there is none."""
    try:
        status = (file.with_suffix("") / "evidence.json").stat() if file is not None else None
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


def _copy_evidence(file: Path) -> None:
    from pytest_aprqa.reporting.atomic_file import write_atomically

    source = file.with_suffix("") / "evidence.json"
    if source.is_file():
        write_atomically(file, source.read_text(encoding="utf-8"))


def _with_result(arguments: list[str]) -> tuple[int, dict[str, Any]]:
    """(exit code, facts of the run), with what pytest prints on standard error."""
    import os
    import tempfile

    from pytest_aprqa.cli.run_result import VARIABLE

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        os.environ[VARIABLE] = str(path)
        try:
            code = exit_code(run_pytest(["-p", "pytest_aprqa.cli.run_result", *arguments], to_stderr=True))
        finally:
            del os.environ[VARIABLE]
        return code, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def announce_end(number: int) -> None:
    """Say on standard error that the line is stopped: a child is ended, what it recorded stays."""
    import signal

    name = signal.Signals(number).name
    click.echo(f"[JIDOKA] {name} received. Reaping 1 child process(es)...", err=True)
    click.echo("[JIDOKA] Line stopped: what was recorded is kept, --resume goes on with it", err=True)


def run_pytest(arguments: list[str], *, to_stderr: bool = False) -> int:
    """Run pytest in a process of its own: it must see the plugin first, to rewrite the assertions of the checks.

    An interrupt reaches the whole process group, so it is left to pytest; termination is passed on.
    """
    import signal
    import subprocess
    import sys

    output = sys.stderr.fileno() if to_stderr else None
    child = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], stdout=output)
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        announce_end(number)
        if number == signal.SIGTERM:
            child.terminate()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        code = child.wait()
        # pytest calls it an interrupt too when a file could not be collected.
        return FAILED if code == PYTEST_INTERRUPTED and not stopped else code
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def captured_pytest(arguments: list[str]) -> tuple[int, str]:
    """(exit code, what it printed) of a pytest. Whoever is stopped meanwhile stops it too, and waits for its end."""
    import os
    import signal
    import subprocess
    import sys

    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        output, _ = child.communicate()
    except BaseException as stop:
        announce_end(signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
        # An interrupt from the terminal has reached pytest as well, and it needs a moment to end its engines.
        sent = [None, signal.SIGINT] if isinstance(stop, KeyboardInterrupt) else [signal.SIGTERM]
        for number in (*sent, signal.SIGKILL):
            if number is not None:
                child.send_signal(number)
            try:
                child.communicate(timeout=GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        raise
    return child.returncode, output


def exit_code(code: int) -> int:
    """The exit code of pytest as a command's: 2 for wrong use, 130 for an interrupt, 128 + n for an end by signal n."""
    return {PYTEST_INTERRUPTED: INTERRUPTED, PYTEST_USAGE: USAGE}.get(code, 128 - code if code < 0 else code)


def arguments_for_pytest(playbook: str, given: tuple[str, ...]) -> list[str]:
    """The argument list; the plugin is named unless an installed distribution announces it to pytest itself."""
    arguments = [] if _is_announced() else ["-p", "pytest_aprqa.plugin"]
    arguments += ["--playbook", playbook]
    verbatim = False
    for argument in given:
        if verbatim:
            arguments.append(argument)
            continue
        if argument == "--":
            verbatim = True
            continue
        name, equals, value = argument.partition("=")
        if argument in _REPLACED:
            arguments += _REPLACED[argument]
        elif name in _RENAMED:
            arguments += [_RENAMED[name], value] if equals else [_RENAMED[name]]
        else:
            arguments.append(argument)
    return arguments


def _is_announced() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == "pytest_aprqa.plugin" for point in entry_points(group="pytest11"))
