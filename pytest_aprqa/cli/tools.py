"""`aprqa tools MODEL`: the tools of the `apr` program on files; `apr qualify --tier full` calls this with one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_aprqa.marks import DEPTHS

if TYPE_CHECKING:
    from pytest_aprqa.engines.apr_known_defects import Observation
    from pytest_aprqa.engines.apr_program import AprProgram
    from pytest_aprqa.engines.apr_tool import ToolResult

_REASON_SHOWN = 300


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="MODEL...")
@click.option("--no-gpu", is_flag=True, help="On the CPU.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("output"), show_default=True
)
@click.option("--include-serve", is_flag=True, help="Also start a server, ask it once and end it.")
@click.option("--apr-binary", metavar="PROGRAM", default="apr", help="The `apr` program (default: the one on PATH).")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the model that the files were made of, or of several models by whose names the files' begin.",
)
@click.option(
    "--depth", type=click.Choice(DEPTHS), default="logits", show_default=True, help="Of the comparison with --against."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[Path, ...],
    no_gpu: bool,
    output: Path,
    include_serve: bool,
    apr_binary: str,
    against: Path | None,
    depth: str,
    as_json: bool,
) -> None:
    """Run inspect, validate, check, bench, trace, profile, qa and rosetta of `apr` on each MODEL, judge what they say.

    With --against, the files are also compared with their source as `aprqa check` does, and what the program says about
    them is held against file and source; then follow the known defects of the release, line by line. Writes
    OUTPUT/tool_tests.json. Exit codes: 0 all passed, 1 one failed or none ran, 2 wrong use.
    Example: aprqa tools model.apr --no-gpu
    """
    from pytest_aprqa.engines.apr_known_defects import Observation
    from pytest_aprqa.engines.apr_program import find_program, probe
    from pytest_aprqa.engines.errors import EngineUnavailable

    try:
        program = probe(find_program(apr_binary))
    except EngineUnavailable as error:
        raise click.UsageError(f"--apr-binary {error}") from None
    say = partial(click.echo, err=as_json)  # the table is progress where the result is JSON
    entries: list[dict[str, Any]] = []
    observations: list[Observation] = []
    totals = [0, 0]
    for model in models:
        results = _one(program, model, against, no_gpu, include_serve, say, named=len(models) > 1)
        entries += _entries(results, model if len(models) > 1 else None)
        observations += [Observation(model.name, r.tool, r.reason) for r in results if r.passed is False]
        totals = [
            total + sum(r.passed is wanted for r in results)
            for total, wanted in zip(totals, (True, False), strict=True)
        ]
    say(f"Total: {totals[0]} passed, {totals[1]} failed")
    found = _compare(models, against, depth, say) if against is not None else []
    if against is not None:
        _show_known(program, [*observations, *found], say)
    text = _write(entries, found, output)
    if as_json:
        click.echo(text)
    ctx.exit(1 if totals[1] or found or not totals[0] else 0)


def _one(
    program: AprProgram, model: Path, against: Path | None, no_gpu: bool, serve: bool, say: Any, *, named: bool
) -> list[ToolResult]:
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.tool_audit import audit, source_of

    source = source_of(model, against) if against is not None else None
    if named:
        say(f"\n{for_terminal(str(model))}")
    if against is not None and source is None:
        say(f"no model in {for_terminal(str(against))} has a name that {for_terminal(model.name)} begins with")
    say(f"{'Tool':<22} {'Status':<8} {'Exit':>5} {'Duration':>10}")
    results = []
    for result in audit(program, model, source, no_gpu=no_gpu, serve=serve):
        results.append(result)
        status = "skipped" if result.passed is None else "passed" if result.passed else "failed"
        say(f"{result.tool:<22} {status:<8} {result.exit_code:>5} {result.duration_ms:>7} ms")
        if result.reason:
            say(f"    {for_terminal(result.reason[:_REASON_SHOWN])}")
    return results


def _entries(results: Sequence[ToolResult], model: Path | None) -> list[dict[str, Any]]:
    from pytest_aprqa.engines.apr_tools import as_entry

    return [({} if model is None else {"model": str(model)}) | as_entry(result) for result in results]


def _compare(models: Sequence[Path], against: Path, depth: str, say: Any) -> list[Observation]:
    """What the comparison with the sources finds, one line for each file, gate and cause."""
    from pytest_aprqa.artifact_check import CheckError
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.tool_audit import compared

    try:
        with working("comparing the files with their sources"):
            found = list(compared(models, against, depth))
    except CheckError as error:
        raise click.ClickException(str(error)) from None
    say(f"\nCompared with {for_terminal(str(against))}: {len(found)} findings")
    shown: dict[tuple[str, str], list[Observation]] = {}
    for one in found:
        shown.setdefault((one.file, one.check), []).append(one)
    for (file, gate), several in shown.items():
        more = f" (and {len(several) - 1} more)" if len(several) > 1 else ""
        say(f"  {for_terminal(file)}: {gate}: {for_terminal(several[0].words[:_REASON_SHOWN])}{more}")
    return found


def _show_known(program: AprProgram, observations: Sequence[Observation], say: Any) -> None:
    from pytest_aprqa.engines.apr_known_defects import RELEASE
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.tool_audit import known_lines, show_lines

    if program.version != RELEASE:
        say(f"\nWhat release {for_terminal(program.version)} gets wrong is not known; release {RELEASE}'s defects are.")
        return
    say(f"\nWhat release {RELEASE} is known to get wrong, on these files:")
    for line in show_lines(known_lines(observations), click.style):
        say(line)


def _write(entries: list[dict[str, Any]], found: Sequence[Observation], output: Path) -> str:
    from dataclasses import asdict

    rows = [*entries, *(asdict(one) for one in found)]
    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(rows, indent=2)
        (output / "tool_tests.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror or error}") from None
    return text
