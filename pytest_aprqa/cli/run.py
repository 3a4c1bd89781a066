"""`aprqa run PLAYBOOK`: pytest with the plugin and the playbook; what pytest understands is passed on as it stands."""

from __future__ import annotations

import click

INTERRUPTED = 130
PYTEST_INTERRUPTED = 2

# Spellings of the earlier command-line tool -> pytest's or the plugin's. A None value: the option takes an argument.
_RENAMED = {"-o": "--evidence-dir", "--output": "--evidence-dir", "--timeout": "--scenario-timeout", "--workers": "-n"}
_REPLACED = {"--fail-fast": ("--failure-policy", "fail-fast"), "--dry-run": ("--collect-only", "-q")}


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("playbook")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, playbook: str, pytest_arguments: tuple[str, ...]) -> None:
    """Run PLAYBOOK (a path or a name) with pytest; further arguments go to pytest.

    `aprqa run tiny-qwen2-mvp -n 4` is `pytest --playbook tiny-qwen2-mvp -n 4`. Also understood: -o/--output DIR
    (evidence folder), --timeout MS (per scenario), --workers N, --fail-fast, --dry-run. Everything after `--` is
    passed on unread. Exit codes are pytest's (0 passed, 1 failures, 4 usage, 5 no tests); 130 when interrupted.
    """
    ctx.exit(exit_code(run_pytest(arguments_for_pytest(playbook, pytest_arguments))))


def run_pytest(arguments: list[str]) -> int:
    """Run pytest in a process of its own: it must see the plugin first, to rewrite the assertions of the checks.

    An interrupt reaches the whole process group, so it is left to pytest; termination is passed on.
    """
    import signal
    import subprocess
    import sys

    child = subprocess.Popen([sys.executable, "-m", "pytest", *arguments])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def exit_code(code: int) -> int:
    """The exit code of pytest as a command's: 130 for an interrupt, 128 + n for a run ended by signal n."""
    return INTERRUPTED if code == PYTEST_INTERRUPTED else 128 - code if code < 0 else code


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
