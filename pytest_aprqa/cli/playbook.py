"""`aprqa playbook check|write`: check playbooks against schema and rules; write those of known models from facts."""

from __future__ import annotations

import json
from pathlib import Path

import click

# Where the playbooks of this repository find their schema: in the folder above them.
SCHEMA_BESIDE = "../playbook.schema.json"


@click.group()
def command() -> None:
    """Check playbooks, or write them from the facts of published models."""


@command.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def check(paths: tuple[Path, ...], as_json: bool) -> int:
    """Check PATHS: playbooks, tickets, gateway specifications; in folders, and below, all `*.playbook.yaml`.

    Every fault is one line with line, column and what to do; warnings do not fail. Exit code 1 when one is wrong.
    Example: aprqa playbook check playbooks
    """
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.loading import load_playbook
    from pytest_aprqa.playbooks.lookup import SUFFIX
    from pytest_aprqa.playbooks.verification import load_verification
    from pytest_aprqa.reporting.hostile_text import for_terminal

    files = [file for path in paths for file in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not files:
        raise click.ClickException(f"{', '.join(map(str, paths))}: no *{SUFFIX} here")
    wrong = 0
    told: list[dict[str, object]] = []
    for file in files:
        try:
            if not file.name.endswith(SUFFIX) and load_verification(file) is not None:
                told.append({"path": str(file), "faults": [], "warnings": []})
                continue
            playbook = load_playbook(file)
        except PlaybookError as error:
            wrong += 1
            told.append({"path": str(file), "faults": list(error.faults), "warnings": []})
            for line in error.faults:
                click.secho(for_terminal(line), fg="red", err=as_json)
            continue
        told.append({"path": str(file), "faults": [], "warnings": list(playbook.warnings)})
        for warning in playbook.warnings:
            click.echo(f"{file}: warning: {for_terminal(warning)}", err=True)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return int(wrong > 0)
    click.echo(f"{len(files) - wrong} of {len(files)} playbooks are right")
    return int(wrong > 0)


@command.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--facts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the fact tables; default: the packaged ones.",
)
@click.option(
    "--schema",
    default=SCHEMA_BESIDE,
    show_default=True,
    help="What the first line of each playbook names for editors: an address, or a path from FOLDER, also written.",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit code 1 when a file differs from the facts."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def write(folder: Path, facts: Path | None, schema: str, only_check: bool, as_json: bool) -> int:
    """Write the playbooks of all known models into FOLDER (playbooks.csv and models.csv hold the facts).

    Example: aprqa playbook write playbooks/models --check
    """
    from pytest_aprqa.models.bundled import bundled_folder
    from pytest_aprqa.playbooks.facts import read_models, read_playbook_facts
    from pytest_aprqa.playbooks.generator import playbook_text
    from pytest_aprqa.playbooks.skips import SUFFIX as SKIP_SUFFIX
    from pytest_aprqa.playbooks.validation import SCHEMA_PATH
    from pytest_aprqa.playbooks.verification_texts import skip_text

    tables = facts or bundled_folder() / "playbooks" / "facts"
    models = read_models(tables / "models.csv")
    texts: dict[Path, str] = {}
    rows = read_playbook_facts(tables / "playbooks.csv")
    for row in rows:
        if row.hf_repo not in models:
            raise click.ClickException(f"{tables / 'playbooks.csv'}: {row.file}: {row.hf_repo} is not in models.csv")
        texts[folder / row.file] = playbook_text(row, models[row.hf_repo], schema=schema)
        if skips := skip_text(row):
            texts[folder / f"{row.stem}{SKIP_SUFFIX}"] = skips
    if "://" not in schema:
        texts[folder / schema] = SCHEMA_PATH.read_text(encoding="utf-8")
    differing = _write(folder, texts, only_check)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "playbooks": len(rows), "written": differing}, indent=2))
        return 0
    click.echo(f"{len(rows)} playbooks, {len(differing)} files written")
    return 0


@command.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit code 1 when a file differs from its table."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def examples(folder: Path, only_check: bool, as_json: bool) -> int:
    """Write examples of the other kinds into FOLDER: `verify/` (tickets, hypotheses) and `spec/` (gateways).

    Example: aprqa playbook examples playbooks --check
    """
    from pytest_aprqa.playbooks.validation import SCHEMA_PATH, VERIFICATION_SCHEMA_PATH
    from pytest_aprqa.playbooks.verification_texts import example_texts

    texts = {folder / name: text for name, text in example_texts().items()}
    for schema in (SCHEMA_PATH, VERIFICATION_SCHEMA_PATH):
        texts[folder / schema.name] = schema.read_text(encoding="utf-8")
    differing = _write(folder, texts, only_check)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "files": len(texts), "written": differing}, indent=2))
        return 0
    click.echo(f"{len(texts)} files, {len(differing)} written")
    return 0


def _write(folder: Path, texts: dict[Path, str], only_check: bool) -> list[str]:
    """Write what differs and give the names; with `only_check`, an error that names the first of them."""
    differing = {path: text for path, text in texts.items() if not _holds(path, text)}
    if only_check and differing:
        names = ", ".join(path.name for path in list(differing)[:5])
        raise click.ClickException(f"{folder}: {len(differing)} files differ from the facts: {names}")
    for path, text in differing.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [path.name for path in differing]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
