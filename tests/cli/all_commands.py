"""Every command by its name, `defects apply` included: for tests that walk all of them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pytest_aprqa.cli.main import cli


def leaves(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """(name, command) of those that do something, groups left out."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*names, name))
        elif command is not None:
            yield " ".join((*names, name)), command


COMMANDS = dict(leaves(cli))
