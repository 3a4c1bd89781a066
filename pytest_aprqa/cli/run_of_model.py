"""The evidence of one model, and the playbook and tier that it says of itself, for commands that publish it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence


@dataclass(frozen=True, slots=True)
class RunOfModel:
    """Entries of one model. `tier` and `playbook` are None where the evidence does not say them."""

    path: Path
    model_id: str
    entries: list[Evidence]
    playbook: str | None
    tier: str | None


def read_run(given: Path, model: str | None = None) -> RunOfModel:
    """Read the evidence in GIVEN, of MODEL where it holds several. ClickException: no entry, another model, none."""
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.known_models import tier_of_playbook
    from pytest_aprqa.reporting.attempts import model_of

    recorded = read_evidence(given)
    if not recorded.entries:
        raise click.ClickException(f"{recorded.path}: no entry: nothing was run, so nothing is proven")
    exported = _exported(recorded.path)
    named = sorted({model_of(entry) for entry in recorded.entries} - {""}) or [*exported.get("hf_repo", [])]
    if model is None:
        if len(named) != 1:
            what = f"evidence of several models: {', '.join(named)}" if named else "the evidence names no model"
            raise click.ClickException(f"{recorded.path}: {what}; say which with --model")
        model = named[0]
    elif named and model not in named:
        raise click.ClickException(f"{recorded.path}: is evidence of {', '.join(named)}, not of {model}")
    if model.count("/") != 1 or not all(model.split("/")):
        raise click.ClickException(f"{recorded.path}: {model!r} is not a model id, ORG/NAME; name it with --model")
    entries = [entry for entry in recorded.entries if model_of(entry) in (model, "")]
    playbooks = [entry.playbook for entry in entries if entry.playbook] + exported.get("name", [])
    tiers = [str(tier) for entry in entries if (tier := entry.metadata.get("tier"))] + exported.get("tier", [])
    tier = tiers[0] if tiers else tier_of_playbook(playbooks[0]) if playbooks else None
    return RunOfModel(recorded.path, model, entries, playbooks[0] if playbooks else None, tier)


def _exported(path: Path) -> dict[str, list[str]]:
    """`hf_repo`, playbook `name` and `tier` that an export says beside its evidence; none of them for other files."""
    if path.suffix != ".json":
        return {}
    document = json.loads(path.read_bytes())
    found: dict[str, list[str]] = {}
    for part, names in (("model", ("hf_repo",)), ("playbook", ("name", "tier"))):
        section = document.get(part) if isinstance(document, dict) else None
        for name in names:
            if isinstance(section, dict) and isinstance(section.get(name), str) and section[name]:
                found[name] = [section[name]]
    return found
