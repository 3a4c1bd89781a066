"""The examples of a command: written as `Example: ...` lines of its docstring, shown unwrapped below its options."""

from __future__ import annotations

import click

MARK = "Example: "


def examples_of(command: click.Command) -> list[str]:
    """Command lines, in the order of the docstring."""
    lines = [*(command.help or "").splitlines(), *(command.epilog or "").splitlines()]
    return [line.strip().removeprefix(MARK) for line in lines if line.strip().startswith((MARK, "aprqa "))]


def with_examples_apart(command: click.Command) -> click.Command:
    """The command, and those below it, with the examples in their epilog. Doing it twice changes nothing."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_examples_apart(inner)
    if command.help and MARK in command.help:
        examples = examples_of(command)
        kept = [line for line in command.help.splitlines() if not line.strip().startswith(MARK)]
        command.help = "\n".join(kept).strip()
        title = "Examples:" if len(examples) > 1 else "Example:"
        command.epilog = "\n".join(["\b", title, *(f"  {example}" for example in examples)])  # \b: not to be wrapped
    return command
