"""`aprqa engines MODEL`: the same prompts on every engine side by side, and what they disagree about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_aprqa.engine_certification import EngineCertificate
    from pytest_aprqa.engine_comparison import EngineRun

PROMPTS = ("What is 2+2?", "def add(a, b):", "Hello!")
SECONDS = 120  # for one answer, and for loading a file
_SHOWN = 6
_WIDTH = 40


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--engine", "names", multiple=True, help="Only this engine; may be given more than once.")
@click.option("--apr-binary", metavar="PROGRAM", help="The `apr` program (default: the one on PATH).")
@click.option("--engine-url", metavar="URL", help="An OpenAI-compatible server; key in APRQA_ENGINE_KEY.")
@click.option("-p", "--prompt", "prompts", multiple=True, default=PROMPTS, help="Instead of the built-in prompts.")
@click.option("-n", "--max-tokens", type=click.IntRange(1, 4096), default=12, show_default=True)
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    help="Seconds for one answer.  [default: 120; of --certify the playbook's]",
)
@click.option("--certify", "playbook", metavar="PLAYBOOK", help="Then run this playbook on each engine as well.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("evidence/engines"),
    show_default=True,
    help="Evidence of --certify goes to OUTPUT/ENGINE.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[Path, ...],
    names: tuple[str, ...],
    apr_binary: str | None,
    engine_url: str | None,
    prompts: tuple[str, ...],
    max_tokens: int,
    timeout: int | None,
    playbook: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Ask every engine that is here the same prompts, raw and through the chat template, greedily.

    MODEL is a file (GGUF, APR, SafeTensors) or the folder of a SafeTensors model, of which GGUF and APR are derived.
    Each engine is compared with torch on the first file. With --certify a playbook is run on each of them too, scores
    and verdicts are set side by side. Exit codes: 0 all agree, 1 a disagreement, an engine that failed, or nothing that
    ran, 2 wrong use.
    Example: aprqa engines model.gguf --engine torch --engine llama
    Example: aprqa engines models/tiny-qwen2 --certify tiny-qwen2-mvp --apr-binary apr
    """
    from pytest_aprqa.cli.engine_certificates import show_certificates
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.engine_certification import verdict_differences
    from pytest_aprqa.engine_comparison import artifacts_of, compare_engines
    from pytest_aprqa.engines.plugins import BUILT_IN
    from pytest_aprqa.reporting.hostile_text import for_terminal

    engines = [engine for engine in BUILT_IN if engine.name != "url" or engine_url]
    unknown = sorted(set(names) - {engine.name for engine in engines})
    if unknown:
        raise click.UsageError(f"--engine {unknown[0]}: known here: {', '.join(e.name for e in engines)}")
    engines = [engine for engine in engines if not names or engine.name in names]
    failed, reports = False, []
    for model in models:
        try:
            with working(f"deriving formats of {for_terminal(model.name)}"):
                artifacts = artifacts_of(model, lambda text: None)
        except (OSError, ValueError, RuntimeError) as error:
            raise click.ClickException(str(error)) from None
        compared = compare_engines(
            artifacts, engines, prompts, max_tokens=max_tokens, limit_s=timeout or SECONDS,
            apr_binary=apr_binary, engine_url=engine_url,
        )  # fmt: skip
        while (run := _next(compared)) is not None:
            failed = failed or bool(run.differences) or (run.problem is not None and not run.skipped)
            reports.append(run)
            if not as_json:
                _show(run)
    certificates = (
        _certified([e.name for e in engines], playbook, output, apr_binary, engine_url, timeout) if playbook else []
    )
    differences = list(verdict_differences(certificates))
    if as_json:
        rows = [_plain(run) for run in reports] + [certificate.to_json() for certificate in certificates]
        click.echo(json.dumps(rows, indent=2))
    elif certificates:
        show_certificates(str(playbook), certificates, differences)
    ctx.exit(1 if failed or differences or _nothing_ran(reports, certificates) else 0)


def _certified(
    names: list[str], playbook: str, output: Path, apr_binary: str | None, engine_url: str | None, limit_s: int | None
) -> list[EngineCertificate]:
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.cli.run import arguments_for_pytest, captured_pytest
    from pytest_aprqa.engine_certification import certify_on

    def run(arguments: list[str]) -> tuple[int, str]:
        return captured_pytest(arguments_for_pytest(playbook, tuple(arguments)))

    certificates = []
    for name in names:
        with working(f"running {playbook} on {name}"):
            program = (apr_binary or "apr") if name == "apr" else None
            found = certify_on(
                name, playbook, output, run, apr_binary=program, engine_url=engine_url, limit_s=limit_s
            )  # fmt: skip
            certificates.append(found)
    return certificates


def _nothing_ran(reports: Sequence[EngineRun], certificates: Sequence[EngineCertificate]) -> bool:
    """Whether no engine was asked, or the playbook was run on none, or not on one that is here: it was asked."""
    from pytest_aprqa.engine_certification import NOT_RUN

    asked = {run.engine for run in reports if not run.skipped}
    if not asked:
        click.echo("nothing was compared: no engine that was asked for can run this here", err=True)
    not_run = [one.engine for one in certificates if one.status == NOT_RUN]
    return not asked or (bool(not_run) and (len(not_run) == len(certificates) or not asked.isdisjoint(not_run)))


def _next(compared: Iterator[EngineRun]) -> EngineRun | None:
    """The next run; a terminal sees the seconds that it takes."""
    from pytest_aprqa.cli.progress_bar import working

    with working("asking an engine"):
        return next(compared, None)


def _show(run: EngineRun) -> None:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    version = f" {run.description.version}" if run.description else ""
    state, colour = "as the first", "green"
    if run.problem:
        state, colour = ("skipped", "yellow") if run.skipped else ("failed", "red")
    elif run.differences:
        state, colour = f"{len(run.differences)} of {len(run.results)} answers differ", "red"
    click.echo(
        f"{for_terminal(run.path.name)} ({run.format}) on {run.engine}{version}: {click.style(state, fg=colour)}"
    )
    if run.problem:
        click.echo(f"    {for_terminal(run.problem)}")
    for key, result in list(run.results.items()):
        told = "?" if result.prompt_length is None else result.prompt_length
        text = repr(result.text)[:_WIDTH] if not result.error else f"refused: {result.error}"[:_WIDTH]
        click.echo(f"    {key:<8} prompt ids {told:>4}  {for_terminal(text)}")
    for difference in run.differences[:_SHOWN]:
        click.echo(f"  - {for_terminal(difference)}")
    if len(run.differences) > _SHOWN:
        click.echo(f"  - ... and {len(run.differences) - _SHOWN} more; --json has all of them")


def _plain(run: EngineRun) -> dict[str, Any]:
    return asdict(run) | {"path": str(run.path)}
