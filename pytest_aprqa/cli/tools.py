"""`aprqa tools MODEL_PATH`: the tools of the `apr` program on one file; `apr qualify --tier full` calls this."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click


@click.command()
@click.argument("model_path", type=click.Path(exists=True, path_type=Path))
@click.option("--no-gpu", is_flag=True, help="On the CPU.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("output"), show_default=True
)
@click.option("--include-serve", is_flag=True, help="Also start a server, ask it once and end it.")
@click.option("--apr-binary", metavar="PROGRAM", default="apr", help="The `apr` program (default: the one on PATH).")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
@click.pass_context
def command(
    ctx: click.Context,
    model_path: Path,
    no_gpu: bool,
    output: Path,
    include_serve: bool,
    apr_binary: str,
    as_json: bool,
) -> None:
    """Run inspect, validate, check, bench, trace, profile, qa and rosetta of `apr` on MODEL_PATH, judge what they say.

    Writes OUTPUT/tool_tests.json. Exit codes: 0 all passed, 1 one failed or none ran, 2 wrong use.
    Example: aprqa tools model.apr --no-gpu
    """
    from pytest_aprqa.engines.apr_arguments import model_file
    from pytest_aprqa.engines.apr_program import find_program, probe
    from pytest_aprqa.engines.apr_tools import as_entry, run_tools
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.reporting.hostile_text import for_terminal

    try:
        program = probe(find_program(apr_binary))
    except EngineUnavailable as error:
        raise click.UsageError(f"--apr-binary {error}") from None
    say = partial(click.echo, err=as_json)  # the table is progress where the result is JSON
    say(f"{'Tool':<22} {'Status':<8} {'Exit':>5} {'Duration':>10}")
    results = []
    for result in run_tools(program, model_file(model_path), no_gpu=no_gpu, serve=include_serve):
        results.append(result)
        status = "skipped" if result.passed is None else "passed" if result.passed else "failed"
        say(f"{result.tool:<22} {status:<8} {result.exit_code:>5} {result.duration_ms:>7} ms")
        if result.reason:
            say(f"    {for_terminal(result.reason[:300])}")
    passed, failed = (sum(r.passed is wanted for r in results) for wanted in (True, False))
    say(f"Total: {passed} passed, {failed} failed")
    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps([as_entry(result) for result in results], indent=2)
        (output / "tool_tests.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror or error}") from None
    if as_json:
        click.echo(text)
    ctx.exit(1 if failed or not passed else 0)
