"""`aprqa validate-contract MODEL`: shapes and bytes of a file against the tensor layout contract LAYOUT-002."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--contract-path", type=click.Path(path_type=Path), help="Contract file; without it the built-in one.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--critical-only", is_flag=True, help="Judge only what is critical: the output head and the file itself.")
@click.pass_context
def command(
    ctx: click.Context, model: Path, contract_path: Path | None, form: str, as_json: bool, critical_only: bool
) -> None:
    """Check every tensor of MODEL (GGUF, APR, SafeTensors) against the tensor layout contract.

    Exit codes: 0 the file conforms, 1 it does not or no rule could be applied.
    Example: aprqa validate-contract model.gguf --json
    """
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.layout_contract import RULES, validate_layout
    from pytest_aprqa.reporting.hostile_text import for_terminal

    with working(f"reading {for_terminal(model.name)}"):
        report = validate_layout(model, contract_path, critical_only=critical_only)
    if as_json or form == "json":
        click.echo(json.dumps(report.to_json(), indent=2))
        ctx.exit(0 if report.status == "PASS" else 1)
    click.echo("Validation Rules")
    for rule, text in RULES.items():
        click.echo(f"  {rule}: {text}")
    click.echo("Validation Results")
    colour = {"PASS": "green", "FAIL": "red"}.get(report.status, "yellow")
    click.echo(f"  Status: {click.style(report.status, fg=colour)}")
    click.echo(f"  Rules Checked: {len(report.results)}")
    click.echo(f"  Rules Passed: {len(report.results) - len(report.failed)}")
    click.echo(f"  Rules Failed: {len(report.failed)}")
    for result in report.results:
        mark = click.style("✓", fg="green") if result.passed else click.style("✗", fg="red")
        text = f" {result.message}" if not result.passed else ""
        click.echo(f"  {mark} [{result.rule}] {for_terminal(result.tensor + text)}")
    ctx.exit(0 if report.status == "PASS" else 1)
