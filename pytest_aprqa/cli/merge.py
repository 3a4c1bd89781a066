"""`aprqa merge RUN_FOLDER...`: the evidence of shards, or of parts of one playbook, as one run with all its reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_FOLDER...")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the joined run."
)
@click.option("--json", "as_json", is_flag=True, help="What was joined and the score, as JSON instead of text.")
def command(runs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Join RUN_FOLDER... (also evidence.jsonl or evidence.json) into one run folder and write its reports.

    Refused, with exit code 1, when a shard is missing, doubled or unfinished, when an item is in two runs, and when
    playbook, artifact, source, plugin version or limits are not the same. The order of the folders changes nothing.
    Example: aprqa merge evidence/part-1 evidence/part-2 --output evidence/whole
    """
    from pytest_aprqa.cli.evidence_input import LOG_NAME
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.evidence.merging import Run, merge
    from pytest_aprqa.reporting.attempts import model_of
    from pytest_aprqa.reporting.report_files import write_reports
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    if (output / LOG_NAME).exists():
        raise click.ClickException(f"{output}: holds {LOG_NAME} already; name a new folder, runs are never overwritten")
    _each_folder_once(runs)
    read = [Run(str(path), tuple(_entries(path))) for path in runs]
    result, refusal = None, None
    try:
        with working(f"joining {len(runs)} runs"):
            merged = merge(read)
            result = score(merged, model_id=", ".join(sorted({model_of(entry) for entry in merged} - {""})))
    except EmptyEvidence as error:
        refusal = str(error)
    output.mkdir(parents=True, exist_ok=True)
    with working("writing reports"):
        _write_log(output / LOG_NAME, merged)
        written = write_reports(output, merged, result)
    _tell(runs, output, merged, result.to_dict() if result else None, as_json)
    for path in written:
        click.echo(f"wrote {path}", err=True)
    if refusal:
        raise click.ClickException(f"{output}: no score: {refusal}")


def _entries(path: Path) -> list[Evidence]:
    """Entries of a run; none for the log of a shard that had no item."""
    from pytest_aprqa.cli.evidence_input import read_evidence

    return read_evidence(path).entries


def _each_folder_once(runs: tuple[Path, ...]) -> None:
    seen: set[Path] = set()
    for path in runs:
        if path.resolve() in seen:
            raise click.ClickException(f"{path}: named twice; name each run once")
        seen.add(path.resolve())


def _write_log(path: Path, entries: list[Evidence]) -> None:
    from pytest_aprqa.evidence.record import canonical_json
    from pytest_aprqa.reporting.atomic_file import write_atomically

    write_atomically(path, "".join(canonical_json(entry) + "\n" for entry in entries))


def _tell(
    runs: tuple[Path, ...], output: Path, merged: list[Evidence], score: dict[str, object] | None, as_json: bool
) -> None:
    from pytest_aprqa.evidence.collection_record import completeness

    whole = completeness(merged)
    if as_json:
        facts = {
            "output": str(output),
            "runs": sorted(str(path) for path in runs),
            "items": whole.found,
            "items_of_the_playbook": whole.expected,
            "complete": whole.complete,
            "score": score,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    of_all = f" of {whole.expected}" if whole.expected is not None else ""
    click.echo(f"merged  {len(runs)} runs: {whole.found}{of_all} items" + ("" if whole.complete else " (a part)"))
    if score is not None:
        click.echo(f"score   {score['raw_score']}/1000, {score['grade']}, {score['status']}")
    click.echo(f"run     {output}")
