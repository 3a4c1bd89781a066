"""`aprqa score EVIDENCE`: the model qualification score, computed anew from the recorded evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("evidence", type=click.Path(exists=True, path_type=Path))
@click.option("-m", "--model", help="Model id to print; default: the one in the evidence.")
@click.option("--json", "as_json", is_flag=True, help="The content of mqs.json instead of text.")
@click.option("--compat", is_flag=True, help="Rules of the earlier tool, to reproduce its recorded scores.")
def command(evidence: Path, model: str | None, as_json: bool, compat: bool) -> None:
    """Score EVIDENCE: evidence.jsonl, evidence.json, or the folder of a run.

    The same numbers as in the mqs.json of the run, by the rules of this version (docs/explanation/scoring.md).
    Exit code 0 when a score was computed, whatever it is; 1 when the evidence is empty, was skipped altogether or
    cannot be read; 2 when there is no such file.

    Example: aprqa score evidence/latest --json
    Example: aprqa score evidence/latest --compat
    """
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.scoring.score import score

    recorded = read_evidence(evidence)
    with working("scoring"):
        result = score(recorded.entries, model_id=model or recorded.model_id, compat=compat)
    facts = result.to_dict()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for line in score_lines(facts, qualifies=result.qualifies, production_ready=result.production_ready):
        click.echo(line)


def score_lines(facts: dict[str, Any], *, qualifies: bool, production_ready: bool) -> list[str]:
    """The text form: header, verdicts, categories in fixed order, penalties."""
    from pytest_aprqa.reporting.gateway_words import (
        category_points,
        gateway_word,
        unevaluated_categories,
        verdict_reasons,
    )
    from pytest_aprqa.reporting.hostile_text import for_terminal

    missing = unevaluated_categories(facts)
    lines = [
        "=== Model Qualification Score (MQS) ===",
        f"Model: {for_terminal(str(facts['model_id']))}",
        f"Raw Score: {facts['raw_score']}/1000",
        f"Normalized Score: {facts['normalized_score']:.1f}/100",
        f"Grade: {facts['grade']}",
        f"Status: {facts['status']}" + (" (incomplete: see below)" if facts.get("incomplete") else ""),
        *([f"Proven: {facts['proven_raw']}/1000"] if facts["proven_raw"] < facts["raw_score"] else []),
        *[f"Because: {for_terminal(reason)}" for reason in verdict_reasons(facts)],
        f"Gateways Passed: {_word(facts['gateways_passed'])}",
        f"Qualifies: {_word(qualifies)}",
        f"Production Ready: {_word(production_ready)}",
        f"Rules: {'of the earlier tool (--compat)' if facts['compat'] else 'version ' + facts['rules_version']}",
        "--- Gateways ---",
    ]
    for gateway in facts["gateways"]:
        reason = f": {gateway['failure_reason']}" if gateway.get("failure_reason") else ""
        lines.append(f"  {gateway['id']}: {gateway_word(gateway)}{for_terminal(reason)}")
    lines.append("--- Category Breakdown ---")
    for name, points, maximum in category_points(facts):
        lines.append(f"  {name}: {points}/{maximum}" + (" (no evidence)" if name in missing else ""))
    penalties = facts.get("penalties") or []
    if penalties:
        lines.append("--- Penalties ---")
    lines += [f"  {p['code']}: {for_terminal(str(p['description']))} (-{p['points']} pts)" for p in penalties]
    return lines


def _word(value: bool) -> str:
    return str(bool(value)).lower()
