"""What `aprqa certify` prints: head, a block for each model, summary. The words are those of the earlier tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from pytest_aprqa.cli.certify import Certification
    from pytest_aprqa.evidence.record import Evidence

GOOD, FAIR = 700, 400  # of 1000 points: green, yellow, below them red
STATUSES = ("CERTIFIED", "PROVISIONAL", "BLOCKED", "NOT RUN")


class Say(Protocol):
    """Prints lines that may hold anything, styled as `click.secho` takes it."""

    def __call__(self, text: str, **style: Any) -> None:
        """Print TEXT."""


def speaker(*, to_stderr: bool) -> Say:
    """Standard output, or standard error where standard output is for JSON. Control characters are shown, not sent."""
    from pytest_aprqa.reporting.hostile_text import for_terminal

    def say(text: str, **style: Any) -> None:
        for line in text.split("\n"):
            click.secho(for_terminal(line), err=to_stderr, **style)

    return say


def say_head(say: Say, tier: str, number: int, options: Mapping[str, Any], *, dry_run: bool) -> None:
    """What was asked for, and where models are looked for."""
    import os

    from pytest_aprqa.models.location import hub_cache

    cache = options["model_cache"]
    if cache is None and options["model_path"] is None:
        say(f"Auto-resolving model cache: {hub_cache(os.environ)}, then the caches of apr")
    say("=== APR Model Certification ===", bold=True)
    facts = {"Tier": tier, "Dry run": str(dry_run).lower(), "Fail-fast": str(options["fail_fast"]).lower()}
    facts |= {"Model cache": str(cache)} if cache is not None else {}
    facts |= {"Model": str(options["model_path"])} if options["model_path"] is not None else {}
    for name, value in {**facts, "Models to certify": number}.items():
        say(f"{name}: {value}")


def say_plan(say: Say, result: Certification, certificate: Path, key: Path | None) -> None:
    """One model of a dry run."""
    if result.reason:
        say(f"  Cannot certify: {result.model_id}\n    Reason: {result.reason}", fg="red")
        return
    say(f"  Would certify: {result.model_id}\n    Playbook: {result.playbook}")
    if result.warning:
        say(f"    [WARN] {result.warning}", fg="yellow")
    if key is not None:
        say(f"    Signature: {certificate}, with {key}")


def say_result(say: Say, result: Certification, evidence: Sequence[Evidence], facts: Mapping[str, Any]) -> None:
    """Counts, score and speeds of a run. FACTS: the score's; the share of passes is of all entries, skipped or not."""
    from pytest_aprqa.registry.certification import scenario_counts, speeds_of

    ran, aside = scenario_counts(evidence)
    share = facts["tests_passed"] / facts["total_tests"]
    say(f"  Scenarios: {ran}{f' ({aside} more were skipped)' if aside else ''}")
    for name in ("passed", "failed", "skipped"):
        say(f"  {name.title()}: {facts[f'tests_{name}']}")
    say(f"  Pass rate: {share:.1%}")
    say(f"  Tier: {result.tier} ({'met' if result.tier_met else 'not met'})")
    points = int(result.score or 0)
    say(f"  MQS Score: {points}/1000", fg="green" if points >= GOOD else "yellow" if points >= FAIR else "red")
    say(f"  Grade: {result.grade}")
    colour = "green" if result.tier_met else "red"
    say(f"  Status: {result.status}{f': {result.reason}' if result.reason else ''}", fg=colour)
    for column, speed in speeds_of(evidence).items():
        say(f"  Profile: {' '.join(column.split('_')[1:])} {speed:.1f} tok/s")
    say(f"  Evidence: {result.evidence}")


def say_summary(say: Say, results: Sequence[Certification], *, dry_run: bool) -> None:
    """Every model once, by what became of it. Failed are those that did not meet their tier, for whatever reason."""
    say("=== Certification Summary ===", bold=True)
    if dry_run:
        ready = sum(result.reason is None for result in results)
        say(f"{ready} would be run, {len(results) - ready} cannot")
        return
    counts = {status: sum(result.status == status for result in results) for status in STATUSES}
    for status, count in counts.items():
        if count or status == "CERTIFIED":
            say(f"{status.capitalize()}: {count}")
    say(f"Failed: {sum(not result.tier_met for result in results)}")
    say(f"Total: {len(results)}")
