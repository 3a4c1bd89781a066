"""`aprqa compare BEFORE AFTER`: what got better and what got worse between two runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

SHOWN = 40  # differences of a kind in the text form


@click.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(before: Path, after: Path, as_json: bool) -> int:
    """Compare two runs (run folders, evidence.jsonl or evidence.json) item by item, and their scores.

    Exit code 0 when nothing got worse; 1 when an item fails that passed, is new and fails, or is no longer run.
    Example: aprqa compare evidence/20260101T000000Z-mvp evidence/latest
    """
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.hostile_text import clipped, for_terminal
    from pytest_aprqa.reporting.run_comparison import BETTER, NOW_RUN, ORDER, compare_runs

    old, new = read_evidence(before), read_evidence(after)
    with working("comparing and scoring"):
        differences = compare_runs(old.entries, new.entries)
        scores = {name: _score(run) for name, run in (("before", old), ("after", new))}
    worse = [one for one in differences if one.kind not in (BETTER, NOW_RUN)]
    if as_json:
        shown = [dataclasses.asdict(one) for one in differences]
        click.echo(json.dumps({"scores": scores, "worse": len(worse), "differences": shown}, indent=2))
        return int(bool(worse))
    click.echo(f"score   {_words(scores['before'])} -> {_words(scores['after'])}")
    click.echo(f"items   {len(old.entries)} -> {len(new.entries)}")
    for kind in ORDER:
        found = [one for one in differences if one.kind == kind]
        if not found:
            continue
        click.secho(f"{kind} ({len(found)})", bold=True, fg="green" if kind in (BETTER, NOW_RUN) else "red")
        for one in found[:SHOWN]:
            change = f"{one.before or 'not there'} -> {one.after or 'not there'}"
            click.echo(f"  {one.gate}  {for_terminal(one.item)}: {change}: {for_terminal(clipped(one.reason, 160))}")
        if len(found) > SHOWN:
            click.echo(f"  ... and {len(found) - SHOWN} more, see --json")
    if not differences:
        click.echo("no item has another outcome")
    return int(bool(worse))


def _score(run: Any) -> dict[str, Any] | None:
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    try:
        facts = score(run.entries, model_id=run.model_id).to_dict()
    except EmptyEvidence:
        return None
    return {name: facts[name] for name in ("raw_score", "grade", "status")}


def _words(facts: dict[str, Any] | None) -> str:
    return "none" if facts is None else f"{facts['raw_score']} {facts['grade']} {facts['status']}"
