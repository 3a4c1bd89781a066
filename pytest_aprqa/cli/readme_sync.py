"""`aprqa readme-sync`: write the table of the registry into a README, between its markers."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click

DEFAULT_REGISTRY = Path("docs/certifications/models.csv")


@click.command()
@click.option("--csv", "registry", type=click.Path(path_type=Path), default=DEFAULT_REGISTRY, show_default=True)
@click.option("--readme", type=click.Path(path_type=Path), default=Path("README.md"), show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when a row breaks a rule of the registry.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(registry: Path, readme: Path, check: bool, as_json: bool) -> int:
    """Write counts and the table of all models between the two markers of README, and nothing else of it.

    The markers are `<!-- CERTIFICATION_TABLE_START -->` and `<!-- CERTIFICATION_TABLE_END -->`. Rows that break a
    rule (CERTIFIED with a failed gateway, a score above 1000) are warnings.
    Example: aprqa readme-sync --csv docs/certifications/models.csv --readme docs/certifications/README.md
    """
    from pytest_aprqa.registry.errors import RegistryError
    from pytest_aprqa.registry.readme_table import with_table
    from pytest_aprqa.registry.table import read_registry
    from pytest_aprqa.reporting.atomic_file import write_atomically

    table = read_registry(registry)
    problems = [f"{model_id}: {problem}" for model_id, row in table.rows.items() for problem in row.problems()]
    for problem in problems:
        click.echo(f"warning: {registry}: {problem}", err=True)
    if check and as_json:
        click.echo(json.dumps({"registry": str(registry), "models": len(table.rows), "problems": problems}, indent=2))
        return int(bool(problems))
    if check:
        click.echo(f"{registry}: {len(table.rows)} models, {len(problems)} problems")
        return int(bool(problems))
    try:
        text = readme.read_bytes().decode("utf-8")
    except OSError as error:
        raise RegistryError(readme, f"cannot be read: {error.strerror}", advice="name it with --readme") from None
    except UnicodeDecodeError as error:
        raise RegistryError(readme, f"is not UTF-8 at byte {error.start}") from None
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    write_atomically(readme, with_table(text, table.rows.values(), now, readme))
    if as_json:
        facts = {"registry": str(registry), "models": len(table.rows), "problems": problems, "readme": str(readme)}
        click.echo(json.dumps(facts, indent=2))
        return 0
    click.echo(f"wrote {len(table.rows)} models to {readme}")
    return 0
