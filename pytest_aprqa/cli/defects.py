"""`aprqa defects list` and `aprqa defects apply`: the catalogue of seeded defects, on copies only."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group()
def command() -> None:
    """List seeded defects, or break a copy of a model with one.

    A gate that no defect can turn red proves nothing: apply a defect, run the playbook on the copy, and look.
    """


@command.command("list")
@click.option("--format", "format_name", type=click.Choice(["safetensors", "apr", "gguf"]), help="Only this format.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_defects(format_name: str | None, as_json: bool) -> None:
    """Name, format, the gateway that is expected to notice, and what is broken.

    Example: aprqa defects list --format gguf
    """
    from pytest_aprqa.defects.catalogue import DEFECTS

    chosen = [defect for defect in DEFECTS.values() if format_name in (None, defect.format)]
    if as_json:
        fields = ("name", "format", "gateway", "title", "origin")
        click.echo(json.dumps([{name: getattr(defect, name) for name in fields} for defect in chosen], indent=2))
        return
    width = max((len(defect.name) for defect in chosen), default=0)
    for defect in chosen:
        click.echo(f"{defect.name:<{width}}  {defect.format:<11}  {defect.gateway:<3}  {defect.title}")
    click.echo(f"{len(chosen)} defects", err=True)


@command.command("apply")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def apply(name: str, source: Path, target: Path, as_json: bool) -> None:
    """Copy SOURCE to the new path TARGET and seed the defect NAME into the copy.

    SOURCE is a model folder for SafeTensors defects, a file for APR and GGUF defects. It is never changed.
    Example: aprqa defects apply tensor-missing ~/models/acme/Model-1B broken-model
    """
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.defects.catalogue import DEFECTS, apply_defect
    from pytest_aprqa.reporting.hostile_text import for_terminal

    with working(f"breaking a copy of {for_terminal(source.name)}"):
        broken = apply_defect(name, source, target)
    if as_json:
        defect = DEFECTS[name]
        click.echo(json.dumps({"path": str(broken), "name": name, "title": defect.title, "gateway": defect.gateway}))
        return
    click.echo(f"{broken}: {DEFECTS[name].title}; expected to be noticed by {DEFECTS[name].gateway}")
