"""`aprqa completion SHELL`: the script by which a shell completes commands, options, choices and file names."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, of the name by which this program was called (aprqa or apr-qa).

    For bash add `eval "$(aprqa completion bash)"` to ~/.bashrc, for zsh the same with zsh to ~/.zshrc (after
    compinit); for fish write the script to ~/.config/fish/completions/aprqa.fish.
    Example: aprqa completion bash
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    program = root.info_name or "aprqa"
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    kind = get_completion_class(shell)
    assert kind is not None  # SHELLS are those that click knows
    click.echo(kind(root.command, {}, program, variable).source())
