"""`aprqa diagnose-conversion MODEL [CONVERTED]`: the five contract invariants of a conversion as five lines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pytest_aprqa.cli.check import CheckProgress


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("converted", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "target", type=click.Choice(["apr", "gguf"]), default="apr", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(ctx: click.Context, model: Path, converted: Path | None, target: str, as_json: bool) -> None:
    """Say which invariant a conversion of MODEL breaks: PASS, FAIL or SKIP for each of I-1 to I-5.

    CONVERTED is the file that was made of MODEL; without it our own converter makes one in the format of --to.
    Exit codes: 0 only if all five pass, 1 for any failure or skip, 2 without a file.
    Example: aprqa diagnose-conversion ~/models/acme/Model-1B model.gguf
    """
    from pytest_aprqa.conversion_diagnosis import diagnose
    from pytest_aprqa.reporting.hostile_text import for_terminal

    with CheckProgress(silent=as_json) as progress:
        diagnosis = diagnose(model, converted, target=target, on_event=progress)
    if as_json:
        click.echo(json.dumps(diagnosis.to_json(), indent=2))
        ctx.exit(diagnosis.exit_code)
    click.echo(f"{for_terminal(diagnosis.source)} -> {for_terminal(diagnosis.converted)}")
    colours = {"PASS": "green", "FAIL": "red"}
    for line in diagnosis.lines:
        word = click.style(line.outcome, fg=colours.get(line.outcome, "yellow"))
        reason = f": {for_terminal(line.reason)}" if line.reason else ""
        click.echo(f"{word} {line.invariant} {line.title}{reason}")
    click.echo(f"verdict: {click.style(diagnosis.verdict, fg=colours.get(diagnosis.verdict, 'yellow'))}")
    ctx.exit(diagnosis.exit_code)
