"""`aprqa baseline RUN --output FILE`: save the speeds of a run, to hold later runs against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

SAMPLES, MACHINE = "speed_samples", "machine"


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="JSON file that the playbook names.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(run: Path, output: Path, as_json: bool) -> int:
    """Save the speeds that a RUN (folder or evidence file) measured for `profile_ci.baseline`, by format and backend.

    Exit code 1 where the run measured none.
    Example: aprqa baseline evidence/latest --output baseline.json
    """
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.suite.speed_profile import BASELINE_VERSION, BaselineError

    speeds: dict[str, Any] = {}
    for entry in read_evidence(run).entries:
        values = {one["name"]: one["value"] for one in entry.observed or ()}
        scenario = entry.scenario or {}
        if SAMPLES in values and scenario.get("format") and scenario.get("backend"):
            speeds[f"{scenario['format']}-{scenario['backend']}"] = {
                "samples": values[SAMPLES],
                "machine": values.get(MACHINE),
                "engine": (entry.engine or {}).get("name"),
            }
    if not speeds:
        raise BaselineError(f"{run}: no measured speeds; name a profile_ci.baseline in the playbook and run it")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"version": BASELINE_VERSION, "speeds": speeds}, indent=1) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"path": str(output), "speeds": speeds}, indent=2))
        return 0
    told = [f"{cell} {len(one['samples'])} samples" for cell, one in speeds.items()]
    click.echo(f"{output}: {', '.join(told)}")
    return 0
