"""`aprqa export-evidence SOURCE`: the evidence of a model as one published object, for export-csv and for readers."""

from __future__ import annotations

import json
from pathlib import Path

import click

DEFAULT_OUTPUT = Path("docs/certifications/evidence")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUTPUT,
    show_default=True,
    help="Folder of the file, which is named after the model.",
)
@click.option("-m", "--model", metavar="ORG/NAME", help="The model; default: the one that the evidence names.")
@click.option("--family", help="Its family; default: from the fact tables.")
@click.option("--size", help="Its size, as 1.5b; default: from the fact tables or its name.")
@click.option("--playbook-name", help="Default: the one that the evidence names.")
@click.option("--tier", help="smoke, mvp, quick, standard or deep; default: the evidence's, else mvp.")
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was written.")
def command(
    source: Path,
    output_dir: Path,
    model: str | None,
    family: str | None,
    size: str | None,
    playbook_name: str | None,
    tier: str | None,
    as_json: bool,
) -> None:
    """Write the evidence in SOURCE (a run folder, evidence.jsonl or evidence.json) as one object with its score.

    The score is computed anew from the evidence. Made twice, the file is the same byte for byte.
    Example: aprqa export-evidence evidence/latest --output-dir published
    """
    from pytest_aprqa.cli.known_models import known_facts
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.cli.run_of_model import read_run
    from pytest_aprqa.playbooks.tiers import parse_tier
    from pytest_aprqa.registry.exported_evidence import ExportedModel, export_object, file_name
    from pytest_aprqa.reporting.atomic_file import write_atomically
    from pytest_aprqa.scoring.score import score

    run = read_run(source, model)
    try:
        wanted = parse_tier(tier or run.tier or "mvp").name
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    known = known_facts(run.model_id)
    described = ExportedModel(
        run.model_id,
        family or known.get("family", "unknown"),
        (size or known.get("parameters", "unknown")).lower(),
        playbook_name or run.playbook or "unknown",
        wanted,
    )
    with working("scoring"):
        content = export_object(run.entries, score(run.entries, model_id=run.model_id), described)
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / file_name(run.model_id)
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    if as_json:
        facts = {name: content[name] for name in ("model", "playbook", "summary", "mqs")}
        click.echo(json.dumps({"path": str(path)} | facts, indent=2))
        return
    mqs, summary = content["mqs"], content["summary"]
    click.echo(f"{run.model_id}: {mqs['score']}/1000 {mqs['grade']}, {summary['total_scenarios']} entries -> {path}")
