"""`aprqa generate MODEL`: scenarios of a model on standard output, for tools that run them without a playbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import click

_MODEL = re.compile(r"(?:[A-Za-z0-9_-]+/)?(?!\.+$)[A-Za-z0-9._-]+")


@click.command()
@click.argument("model")
@click.option(
    "-c", "--count", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Scenarios of each cell."
)
@click.option("-f", "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True, help="Decides what is drawn.")
@click.option(
    "--prompts",
    type=click.Choice(["both", "known", "drawn"]),
    help="The 18 known prompts in turn; prompts drawn by Hypothesis (extra `invariants`); or the known ones first. "
    "Default: both, and known where Hypothesis is not installed.",
)
def command(model: str, count: int, form: str, as_json: bool, seed: int, prompts: str | None) -> None:
    """Generate scenarios for MODEL (ORG/NAME): run, chat, serve x cpu, gpu x gguf, safetensors, apr x COUNT.

    The same seed gives the same scenarios. YAML is one document a scenario, JSON one array.
    Example: aprqa generate Qwen/Qwen2.5-Coder-1.5B-Instruct --count 2 --format json
    """
    from pytest_aprqa.cli.progress_bar import bar
    from pytest_aprqa.playbooks.scenario_generation import prompts_of, scenarios_of

    if not _MODEL.fullmatch(model):
        raise click.UsageError(f"{model!r} is not a model id, ORG/NAME")
    prompts = prompts or _by_default(count)
    with bar("drawing prompts", count) as progress:
        chosen = prompts_of(count, seed, prompts, progress)
    written = 0
    for piece in (_json if as_json or form == "json" else _yaml)(scenarios_of(model, chosen, seed)):
        click.echo(piece)
        written += not piece.startswith(("[", "]"))
    click.echo(f"Generated {written} scenarios for {model}", err=True)


def _by_default(count: int) -> str:
    """`both`; without Hypothesis `known`, said on standard error where prompts would have been drawn."""
    from importlib.util import find_spec

    from pytest_aprqa.playbooks.scenario_generation import KNOWN

    if find_spec("hypothesis") is not None:
        return "both"
    if count > len(KNOWN):
        click.echo(
            f"note: Hypothesis is not installed, so the {len(KNOWN)} known prompts are taken in turn; to draw others: "
            "pip install 'pytest-aprqa[invariants]'",
            err=True,
        )
    return "known"


def _json(scenarios: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield "["
    waiting: str | None = None
    for scenario in scenarios:
        if waiting is not None:
            yield waiting + ","
        waiting = "  " + json.dumps(scenario)
    if waiting is not None:
        yield waiting
    yield "]"


def _yaml(scenarios: Iterator[dict[str, Any]]) -> Iterator[str]:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    for scenario in scenarios:
        text = yaml.dump(scenario, Dumper=dumper, sort_keys=False, allow_unicode=True, width=4096)
        yield "---\n" + text.rstrip("\n")
