"""`aprqa export-csv`: the registry's rows of the models whose evidence stands in a folder, computed from it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.cli.run_of_model import RunOfModel
    from pytest_aprqa.registry.row import RegistryRow
    from pytest_aprqa.registry.table import Registry

DEFAULT_EVIDENCE = Path("docs/certifications/evidence")
DEFAULT_REGISTRY = Path("docs/certifications/models.csv")
NOT_EVIDENCE = ("mqs.json", "tool_tests.json", "certificate.json")  # other files of a run folder


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """What became of one source: the row that it gave, or why it gave none."""

    source: str
    model_id: str | None = None
    status: str | None = None
    score: int | None = None
    problem: str | None = None
    kept: bool = False  # the registry has a younger run of this model


@click.command()
@click.option(
    "-e",
    "--evidence-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=DEFAULT_EVIDENCE,
    show_default=True,
    help="A run folder, or a folder of exports (*.json) and run folders.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_REGISTRY,
    show_default=True,
    help="The registry.",
)
@click.option("--append", is_flag=True, help="Keep all other rows; this is always so without --overwrite.")
@click.option("--overwrite", is_flag=True, help="Start anew: only the models of this evidence are left.")
@click.option("--tier", help="Tier of evidence that does not name its own; without it no tier is proven by it.")
@click.option("--json", "as_json", is_flag=True, help="What became of each source, as JSON.")
def command(evidence_dir: Path, output: Path, append: bool, overwrite: bool, tier: str | None, as_json: bool) -> int:
    """Write score, status, grade, tier, gateways and speeds of each model's evidence into the registry.

    Rows of other models stay as they are, also those with words of older tools; a run that is older than the row
    changes nothing. Exit code 1 when a source could not be read: the others are written all the same.
    Example: aprqa export-csv --evidence-dir published --output models.csv
    """
    from pytest_aprqa.playbooks.tiers import parse_tier
    from pytest_aprqa.registry.table import update_registry

    if append and overwrite:
        raise click.UsageError("--append keeps the other rows, --overwrite drops them: not both")
    try:
        default_tier = parse_tier(tier).name if tier else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found: list[ExportedRow] = []
    runs = list(_readable(evidence_dir, found))
    if not runs and not found:
        raise click.ClickException(f"{evidence_dir}: no export (*.json) and no run folder here")

    def change(table: Registry) -> None:
        if overwrite:
            for model_id in list(table.rows):
                table.drop(model_id)
        versions: dict[str, dict[str, str]] = {}
        for run in runs:
            found.append(_enter(run, table, default_tier, versions))

    if runs:
        update_registry(output, change, create=True)
    _tell(found, output, as_json)
    return int(any(one.problem for one in found))


def _readable(folder: Path, problems: list[ExportedRow]) -> Iterator[RunOfModel]:
    """Runs from the oldest to the youngest; what cannot be read goes to PROBLEMS."""
    from pytest_aprqa.cli.run_of_model import read_run
    from pytest_aprqa.evidence.errors import EvidenceError
    from pytest_aprqa.registry.certification import moment
    from pytest_aprqa.registry.exported_evidence import last_timestamp

    runs = []
    for source in _sources(folder):
        try:
            runs.append(read_run(source))
        except click.ClickException as error:
            problems.append(ExportedRow(str(source), problem=error.format_message()))
        except EvidenceError as error:
            problems.append(ExportedRow(str(source), problem=str(error)))
    yield from sorted(runs, key=lambda run: (moment(last_timestamp(run.entries)), str(run.path)))


def _sources(folder: Path) -> Iterator[Path]:
    """FOLDER itself where it is a run's, else its exports and the run folders in it; links are not followed twice."""
    from pytest_aprqa.cli.evidence_input import JSON_NAME, LOG_NAME

    def is_run(path: Path) -> bool:
        return (path / LOG_NAME).is_file() or (path / JSON_NAME).is_file()

    if is_run(folder):
        yield folder
        return
    for path in sorted(folder.iterdir()):
        is_export = path.suffix == ".json" and path.name not in NOT_EVIDENCE and path.is_file()
        if is_export or (path.is_dir() and not path.is_symlink() and is_run(path)):
            yield path


def _enter(
    run: RunOfModel, table: Registry, default_tier: str | None, versions: dict[str, dict[str, str]]
) -> ExportedRow:
    """VERSIONS: of each model, the one that was entered last: what it has proven is not kept for another."""
    from pytest_aprqa.cli.known_models import known_facts
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.playbooks.tiers import parse_tier
    from pytest_aprqa.registry.certification import certified, moment
    from pytest_aprqa.registry.exported_evidence import last_timestamp
    from pytest_aprqa.registry.recorded_version import differ, version_of
    from pytest_aprqa.registry.row import RegistryRow
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    old = table.rows.get(run.model_id) or RegistryRow.new(run.model_id, **known_facts(run.model_id))
    when = last_timestamp(run.entries)
    before, now = versions.get(run.model_id, {}), version_of(run.entries)
    if moment(old["last_certified"]) > moment(when):
        return ExportedRow(str(run.path), run.model_id, old["status"], old.score, kept=True)
    try:
        with working("scoring"):
            points = score(run.entries, model_id=run.model_id)
        tier = parse_tier(run.tier or default_tier or "mvp")
    except (EmptyEvidence, ValueError) as error:
        return ExportedRow(str(run.path), run.model_id, problem=f"{run.path}: {error}")
    proven = tier.name if run.tier or default_tier else "none"
    row: RegistryRow = certified(
        old, run.entries, points, tier=proven, threshold=tier.threshold, scenarios=tier.scenarios, when=when,
        same_version=not differ(before, now),
    )  # fmt: skip
    table.put(row)
    versions[run.model_id] = now
    return ExportedRow(str(run.path), run.model_id, row["status"], row.score)


def _tell(found: list[ExportedRow], output: Path, as_json: bool) -> None:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    for one in found:
        if one.problem:
            click.echo(f"warning: {for_terminal(one.problem)}", err=True)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        if one.model_id and not one.problem:
            note = " (kept: the row is of a younger run)" if one.kept else ""
            click.echo(f"  {for_terminal(one.model_id)}: {one.status} {one.score}/1000{note}")
    written = sum(not one.problem and not one.kept for one in found)
    click.echo(f"{output}: {written} written, {sum(one.kept for one in found)} kept, "
               f"{sum(one.problem is not None for one in found)} not readable")  # fmt: skip
