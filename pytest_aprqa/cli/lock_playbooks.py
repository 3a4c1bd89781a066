"""`aprqa lock-playbooks [FOLDER]`: write down the digests of all playbooks, or check them."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("playbooks"))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Lock file; default: FOLDER/playbook.lock.yaml.",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 1 when something differs.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(folder: Path, output: Path | None, only_check: bool, as_json: bool) -> int:
    """Lock the playbooks in FOLDER (default: playbooks) and below: `certify` runs only what was locked.

    Example: aprqa lock-playbooks playbooks --check
    """
    from pytest_aprqa.playbooks.lock import LOCK_NAME, drift, lock_text, locked_entries, read_lock
    from pytest_aprqa.reporting.atomic_file import write_atomically

    path = output or folder / LOCK_NAME
    if only_check:
        lock = read_lock(path)
        if lock is None:
            raise click.ClickException(f"{path}: there is no lock file; make it with: aprqa lock-playbooks {folder}")
        lines = drift(folder, lock)
        if as_json:
            click.echo(json.dumps({"lock": str(path), "locked": len(lock), "differences": lines}, indent=2))
            return int(bool(lines))
        for line in lines:
            click.echo(line)
        click.echo(f"{len(lock)} locked, {len(lines)} differ")
        return int(bool(lines))
    entries = locked_entries(folder)
    write_atomically(path, lock_text(entries))
    if as_json:
        click.echo(json.dumps({"lock": str(path), "locked": len(entries)}, indent=2))
        return 0
    click.echo(f"Locked {len(entries)} playbook(s) → {path}")
    return 0
