"""`aprqa tickets EVIDENCE`: issues for the failures of a run, as files for `gh`; nothing is sent from here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.reporting.tickets import Ticket


@click.command()
@click.argument("evidence", type=click.Path(exists=True, path_type=Path))
@click.option("-r", "--repo", default="OWNER/REPOSITORY", show_default=True, help="Where the issues belong.")
@click.option("--by-cause", is_flag=True, help="One ticket per root cause instead of one per gate.")
@click.option("--black-swans-only", is_flag=True, help="Only failures in which an engine crashed.")
@click.option(
    "--min-occurrences", type=click.IntRange(min=1), default=1, show_default=True, help="Leave rarer ones out."
)
@click.option(
    "--ticket-mode",
    type=click.Choice(["draft", "create"]),
    default="draft",
    show_default=True,
    help="draft prints them; create also writes the bodies and a script that opens them.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of create; default: tickets beside EVIDENCE.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(
    evidence: Path,
    repo: str,
    by_cause: bool,
    black_swans_only: bool,
    min_occurrences: int,
    ticket_mode: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make tickets of the failures in EVIDENCE (a run folder, evidence.jsonl or evidence.json), most urgent first.

    `create` writes one body a ticket and `open.sh`, which opens those whose mark is not in the repository's issues
    yet.
    Example: aprqa tickets evidence/latest --repo acme/models --ticket-mode create
    """
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.reporting.tickets import tickets

    recorded = read_evidence(evidence)
    with working("sorting failures"):
        found = tickets(
            recorded.entries, by_cause=by_cause, black_swans_only=black_swans_only, min_occurrences=min_occurrences
        )
    folder = output or recorded.folder / "tickets"
    if ticket_mode == "create" and found:
        script = write_tickets(folder, repo, found)
        click.echo(f"wrote {script} and {len(found)} bodies", err=True)
    if as_json:
        fields = ("key", "title", "priority", "labels", "occurrences", "black_swan", "body")
        click.echo(json.dumps([{name: getattr(ticket, name) for name in fields} for ticket in found], indent=2))
        return
    if not found:
        click.echo("No tickets: nothing failed that these options ask for.")
    for ticket in found:
        click.echo(f"{ticket.priority}  {for_terminal(ticket.title)}")
        click.echo(f"    {ticket.occurrences} x, {for_terminal(', '.join(ticket.labels))}, key {ticket.key}")


def write_tickets(folder: Path, repo: str, found: Sequence[Ticket]) -> Path:
    """One body a ticket in FOLDER, and the script, whose path is given back, that opens each once with `gh`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = ["#!/bin/sh", "# Opens each ticket once: the mark in its body is looked for first.", "set -eu"]
    script.append('cd "$(dirname "$0")"')
    for ticket in found:
        body = folder / f"{ticket.key}.md"
        body.write_text(ticket.body, encoding="utf-8")
        listing = ["gh", "issue", "list", "--repo", repo, "--state", "all"]
        known = f'[ -n "$({shlex.join([*listing, "--search", f"aprqa-ticket: {ticket.key}"])})" ]'
        script.append(f"{known} || {ticket.command(repo, body.name)}")
    (folder / "open.sh").write_text("\n".join(script) + "\n", encoding="utf-8")
    return folder / "open.sh"
