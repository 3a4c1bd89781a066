"""How `aprqa engines --certify` shows what one playbook came to on each engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.engine_certification import EngineCertificate, VerdictDifference

_REASON_SHOWN = 200


def show_certificates(
    playbook: str, certificates: Sequence[EngineCertificate], differences: Sequence[VerdictDifference]
) -> None:
    """A row for each engine, then each gate on which they differ."""
    from pytest_aprqa.reporting.hostile_text import for_terminal

    click.echo(f"\n{for_terminal(playbook)} on each engine")
    click.echo(f"  {'Engine':<8} {'Status':<12} {'Score':>5} Grade  Outcomes")
    for one in certificates:
        if one.score is None:
            click.echo(f"  {one.engine:<8} {one.status:<12} {for_terminal(str(one.reason))[:_REASON_SHOWN]}")
            continue
        outcomes = ", ".join(f"{count} {name}" for name, count in one.counts.items())
        click.echo(f"  {one.engine:<8} {one.status:<12} {one.score:>5} {one.grade or '-':<6} {outcomes}")
    click.echo(f"Verdicts that differ: {len(differences)} gates" if differences else "No verdict differs.")
    for difference in differences:
        words = ", ".join(f"{engine} {word}" for engine, word in difference.words.items())
        more = f" (and {difference.items - 1} more items)" if difference.items > 1 else ""
        click.echo(f"  - {difference.gate} {for_terminal(difference.item)}{more}: {words}")
        click.echo(f"      {for_terminal(' '.join(difference.reason.split()))[:_REASON_SHOWN]}")
