"""`aprqa bootstrap FAMILY SIZE --hf-repo ID`: a first playbook of a model, from its config.json or a contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.bootstrap import Shape

DEFAULT_CONTRACTS = Path("../aprender/contracts/model-families")
DEFAULT_FOLDER = Path("playbooks/models")
SCHEMA_NAME = "playbook.schema.json"


@click.command()
@click.argument("family")
@click.argument("size")
@click.option("--hf-repo", required=True, metavar="ORG/NAME", help="The model.")
@click.option("--tier", default="mvp", show_default=True, help="smoke, mvp, quick, standard or deep.")
@click.option("--config", type=click.Path(exists=True, path_type=Path), help="config.json of the model, or its folder.")
@click.option(
    "--contracts-path",
    type=click.Path(exists=True, path_type=Path),
    help=f"Contract of the family, or the folder of FAMILY.yaml; default: {DEFAULT_CONTRACTS}, if it is there.",
)
@click.option("--model-cache", type=click.Path(file_okay=False, path_type=Path), help="Where the model is looked for.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The playbook; default: {DEFAULT_FOLDER}/FAMILY-SIZE-TIER.playbook.yaml.",
)
@click.option(
    "--schema",
    metavar="PATH_OR_ADDRESS",
    help="What the first line names for editors. "
    f"Default: ../{SCHEMA_NAME} where it is or for the default folder, else {SCHEMA_NAME}; it is written when missing.",
)
@click.option("--force", is_flag=True, help="Replace an existing playbook.")
@click.option("--dry-run", is_flag=True, help="Print the playbook; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was written and from what.")
def command(
    family: str,
    size: str,
    hf_repo: str,
    tier: str,
    config: Path | None,
    contracts_path: Path | None,
    model_cache: Path | None,
    output: Path | None,
    schema: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the playbook of SIZE of FAMILY for a tier: matrix, prompts of the family, dimensions, limits by size.

    The dimensions come from --config, else --contracts-path, else config.json of the model where it stands on this
    machine, else the default contract, else the built-in table; which of them is said.
    Example: aprqa bootstrap qwen2 1.5b --hf-repo Qwen/Qwen2.5-Coder-1.5B-Instruct --dry-run
    """
    from pytest_aprqa.playbooks.bootstrap import bootstrap_text, checked_names, playbook_stem
    from pytest_aprqa.playbooks.lookup import SUFFIX
    from pytest_aprqa.playbooks.tiers import parse_tier

    try:
        wanted = parse_tier(tier)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    family, size = checked_names(family, size, hf_repo)
    shape = _shape(family, size, hf_repo, config, contracts_path, model_cache)
    path = output or DEFAULT_FOLDER / (playbook_stem(family, size, wanted) + SUFFIX)
    if not path.name.endswith(SUFFIX):
        raise click.UsageError(f"--output {path}: the name of a playbook ends in {SUFFIX}")
    named = schema or _schema_of(path, default_folder=output is None)
    text = bootstrap_text(family, size, hf_repo, wanted, shape, stem=path.name.removesuffix(SUFFIX), schema=named)
    click.echo(f"dimensions: {shape.source}", err=True)
    if not shape.dimensions:
        click.echo("warning: no dimensions are known, none are expected; give --config or --contracts-path", err=True)
    if not dry_run:
        _write(path, text, force=force)
        if schema is None:
            _write_schema(path.parent / named)
    if as_json:
        facts = {"path": None if dry_run else str(path), "source": shape.source, "dimensions": dict(shape.dimensions)}
        click.echo(json.dumps(facts | {"tier": wanted.name, "text": text}, indent=2))
    elif dry_run:
        click.echo(text, nl=False)
    else:
        click.echo(f"wrote {path}; next: aprqa lock-playbooks {path.parent}")


def _schema_of(path: Path, *, default_folder: bool) -> str:
    """The schema as the playbook at PATH names it."""
    is_above = (path.absolute().parent.parent / SCHEMA_NAME).is_file()
    return f"../{SCHEMA_NAME}" if default_folder or is_above else SCHEMA_NAME


def _write_schema(place: Path) -> None:
    """Put the schema where editors look for it. One that is there stays: it may be the user's."""
    from pytest_aprqa.playbooks.validation import SCHEMA_PATH
    from pytest_aprqa.reporting.atomic_file import write_atomically

    text = SCHEMA_PATH.read_text(encoding="utf-8")
    if not place.is_file():
        write_atomically(place, text)
    elif place.read_text(encoding="utf-8", errors="replace") != text:
        click.echo(f"warning: {place} is not this version's schema; delete it to have it written", err=True)


def _shape(
    family: str, size: str, hf_repo: str, config: Path | None, contracts: Path | None, model_cache: Path | None
) -> Shape:
    import os

    from pytest_aprqa.models.errors import ModelNotFound
    from pytest_aprqa.models.location import locate_model
    from pytest_aprqa.playbooks.bootstrap import shape_from_config, shape_from_contract, shape_from_table

    if config is not None:
        return shape_from_config(config, family, size)
    if contracts is not None:
        return shape_from_contract(contracts, family, size)
    try:
        found = locate_model(hf_repo, model_path=None, model_cache=model_cache, local_path=None, environ=os.environ)
    except ModelNotFound:
        pass
    else:
        if (found.folder / "config.json").is_file():
            return shape_from_config(found.folder / "config.json", family, size)
    if (DEFAULT_CONTRACTS / f"{family}.yaml").is_file():
        return shape_from_contract(DEFAULT_CONTRACTS, family, size)
    return shape_from_table(family, size)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the playbook after it was read back as one: what cannot be loaded is not left behind."""
    import tempfile

    from pytest_aprqa.playbooks.loading import load_playbook
    from pytest_aprqa.reporting.atomic_file import write_atomically

    if path.exists() and not force:
        raise click.ClickException(f"{path}: exists already; name another file or add --force")
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        load_playbook(draft)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
