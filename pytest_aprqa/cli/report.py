"""`aprqa report EVIDENCE_OR_FOLDER`: rebuild HTML, JUnit, Markdown and JSON reports from evidence alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

FORMATS = ("all", "html", "junit", "md", "json", "certificate", "sarif", "csv", "github")


@click.command()
@click.argument("evidence", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder; default: beside it.")
@click.option("--formats", type=click.Choice(FORMATS), default="all", show_default=True, help="What to write.")
@click.option("-m", "--model", help="Model id to print; default: the one in the evidence.")
@click.option(
    "--sign",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign certificate.json with this private key (PEM, elliptic curve; extra `sign`).",
)
@click.option("--quiet", is_flag=True, help="No summary on standard output.")
@click.option("--json", "as_json", is_flag=True, help="What was written and the score, as JSON.")
def command(
    evidence: Path,
    output: Path | None,
    formats: str,
    model: str | None,
    sign: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rebuild the reports of EVIDENCE: the folder of a run, evidence.jsonl, or evidence.json.

    `html` writes report.html, `junit` junit.xml, `md` report.md, `json` evidence.json and mqs.json,
    `certificate` certificate.json and certificate.md; `all` is these.
    `sarif` writes report.sarif, `csv` evidence.csv; `github` prints annotations of a workflow and adds to the job's
    summary. The score is computed anew; where nothing was run there is none, and the exit code is 1.
    Example: aprqa report evidence/latest --formats html --output report
    """
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.report_files import REPORTS, write_reports
    from pytest_aprqa.reporting.terminal import summary_lines
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    recorded = read_evidence(evidence)
    if not recorded.entries:
        raise click.ClickException(f"{recorded.path}: no entry: nothing was run, so there is nothing to report")
    refusal, result = None, None
    try:
        with working("scoring"):
            result = score(recorded.entries, model_id=model or recorded.model_id)
    except EmptyEvidence as error:
        refusal = str(error)
    if formats == "github":
        _github(recorded.entries, result)
        return
    folder = output or recorded.folder
    folder.mkdir(parents=True, exist_ok=True)
    with working("writing reports"):
        written = write_reports(folder, recorded.entries, result, only=None if formats == "all" else REPORTS[formats])
    if sign is not None:
        written.append(_sign(folder, sign))
    if as_json:
        facts = {"written": [str(path) for path in written], "score": result.to_dict() if result else None}
        click.echo(json.dumps(facts, indent=2))
    elif not quiet:
        width = shutil.get_terminal_size((80, 24)).columns
        for text, markup in summary_lines(recorded.entries, result, width):
            click.secho(text, fg=_colour(markup), bold=markup.get("bold"))
    for path in written:
        click.echo(f"wrote {path}", err=True)
    if refusal:
        raise click.ClickException(f"{recorded.path}: no score: {refusal}")


def _sign(folder: Path, key: Path) -> Path:
    from pytest_aprqa.reporting.report_files import CERTIFICATE
    from pytest_aprqa.signing import sign_file

    if not (folder / CERTIFICATE).is_file():
        raise click.ClickException(f"{folder}: no {CERTIFICATE} to sign; use --formats all or certificate")
    return sign_file(folder / CERTIFICATE, key)


def _github(entries: list[Evidence], result: QualificationScore | None) -> None:
    """Annotations on standard output; the summary into the file that GitHub names, where it runs us."""
    import os

    from pytest_aprqa.reporting.github_actions import step_summary, workflow_annotations
    from pytest_aprqa.reporting.markdown import report_markdown

    for line in workflow_annotations(entries):
        click.echo(line)
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(step_summary(report_markdown(entries, result)))


def _colour(markup: dict[str, bool]) -> str | None:
    return next((name for name in ("red", "green", "yellow") if markup.get(name)), None)
