"""`aprqa list`: the models that playbooks are known for, by size."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from pytest_aprqa.playbooks.size_categories import CATEGORIES

SIZE_NAMES = {"xlarge": "XLarge"}  # others: the first letter is a capital


@click.command()
@click.option("-s", "--size", type=click.Choice(CATEGORIES), help="Only models of this size category.")
@click.option("--family", help="Only models of this family.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(size: str | None, family: str | None, as_json: bool) -> None:
    """List the published models whose playbooks are packaged, sorted by id.

    Example: aprqa list --size tiny
    """
    from pytest_aprqa.models.bundled import bundled_folder
    from pytest_aprqa.playbooks.facts import read_models

    models = read_models(bundled_folder() / "playbooks" / "facts" / "models.csv")
    shown = [
        model
        for _, model in sorted(models.items(), key=lambda pair: pair[0].lower())
        if (size is None or model.size_category == size) and (family is None or model.family == family)
    ]
    if as_json:
        click.echo(json.dumps([asdict(model) for model in shown], indent=2))
        return
    click.echo("=== Available Models ===")
    for model in shown:
        size_name = SIZE_NAMES.get(model.size_category, model.size_category.capitalize())
        click.echo(f"  {model.model_id} ({size_name})  {model.family}, {model.parameters}")
    click.echo(f"{len(shown)} of {len(models)} models")
