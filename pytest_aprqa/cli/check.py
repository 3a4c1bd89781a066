"""`aprqa check ARTIFACT... --against HF_FOLDER`: is this file really that model? No playbook is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from pytest_aprqa.marks import DEPTHS

if TYPE_CHECKING:
    from pytest_aprqa.artifact_check import CheckResult, Finding

_FINDINGS_SHOWN = 3  # of one gate


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against", required=True, type=click.Path(path_type=Path), help="Folder with the SafeTensors model it should be."
)
@click.option("--depth", type=click.Choice(DEPTHS), default=DEPTHS[-1], show_default=True, help="How deep to look.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(ctx: click.Context, artifacts: tuple[Path, ...], against: Path, depth: str, as_json: bool) -> None:
    """Try to refute that each ARTIFACT (GGUF, APR, SafeTensors) is the model in the folder HF_FOLDER.

    The comparisons of the suite run from the cheapest (names, shapes, types, declarations) over weights and tokens to
    logits and text; the first three need no engine. A file is judged as the type that it declares. Exit codes: 0
    nothing refuted down to the asked depth (it says what was tried), 1 refuted, 2 the asked depth, or a check on the
    way, could not be tried (no engine, a type without decoder); it says up to which depth nothing was refuted.
    Example: aprqa check model.gguf --against ~/models/acme/Model-1B
    """
    from pytest_aprqa.artifact_check import CheckError, check

    with CheckProgress(silent=as_json) as progress:
        try:
            result = check(artifacts, against, depth, on_event=progress)
        except (CheckError, OSError) as error:
            raise _NotTried(f"not tried: {error}") from None
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        _show(result)
    ctx.exit(result.exit_code)


class _NotTried(click.ClickException):
    """The check itself could not run: 2, since 1 says that an artifact is refuted."""

    exit_code = 2


class CheckProgress:
    """A bar on the terminal: how many comparisons are done, and what is being loaded or read now."""

    def __init__(self, silent: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        if not silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event of the run."""
        if self._bar is None:
            return
        if event["event"] == "collected":
            self._bar.update(self._task, total=event["items"])
        elif event["event"] == "finished":
            self._bar.advance(self._task)
        else:
            text = event.get("text") or event.get("node", "").rsplit("::", 1)[-1]
            self._bar.update(self._task, description=text[:80])


def _show(result: CheckResult) -> None:
    from pytest_aprqa.artifact_check import NOT_REFUTED, NOT_TRIED, REFUTED
    from pytest_aprqa.reporting.hostile_text import for_terminal

    colours = {NOT_REFUTED: "green", REFUTED: "red", NOT_TRIED: "yellow"}
    for artifact in result.artifacts:
        verdict = result.verdict_of(artifact)
        word = click.style(verdict.upper(), fg=colours[verdict], bold=True)
        really = result.misnamed(artifact)
        named = f"{for_terminal(artifact)} ({really})" if really else for_terminal(artifact)
        click.echo(f"{word}: {named} as {for_terminal(result.against)}")
        findings = [finding for finding in result.findings if finding.artifact == artifact]
        for gate in dict.fromkeys(finding.gate for finding in findings):
            mine = [finding for finding in findings if finding.gate == gate]
            for number, finding in enumerate(mine[:_FINDINGS_SHOWN]):
                _show_finding(finding, advise=number == 0)
            if len(mine) > _FINDINGS_SHOWN:
                click.echo(f"  {gate}: {len(mine) - _FINDINGS_SHOWN} more findings; --json has all of them")
        if verdict == NOT_TRIED and result.tried:
            reached = result.tried_up_to(artifact)
            far = f"tried up to {reached}, nothing refuted there" if reached else "nothing was tried"
            click.echo(f"  {far}; asked for: {result.depth}")
        _show_tried(result, artifact)


def _show_finding(finding: Finding, advise: bool) -> None:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    def line(label: str, value: object) -> None:
        if value not in (None, ""):
            click.echo(f"    {label:<6} {for_terminal(_value(value))}")

    click.echo(f"  {finding.gate}: {for_terminal(finding.where)}")
    line("found", finding.found)
    line("limit", finding.limit)
    line("cause", finding.cause)
    line("do", finding.do if advise else None)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_tried(result: CheckResult, artifact: str) -> None:
    """One line a depth: the gates tried there, each with a mark; then what was not tried and why."""
    from pytest_aprqa.evidence.collection_record import NOT_TRIED as NOT_TRIED_REASON
    from pytest_aprqa.reporting.hostile_text import for_terminal

    mine = [row for row in result.tried if row["artifact"] == artifact]
    for depth in DEPTHS:
        gates = [
            row["gate"] if row["outcome"] == "Corroborated" else click.style(f"{row['gate']}!", fg="red")
            for row in mine
            if row["depth"] == depth
        ]
        if gates:
            click.echo(f"  tried {depth:<10} {', '.join(gates)}")
    reasons: dict[str, list[str]] = {}
    for row in result.not_tried:
        if row["artifact"] == artifact:
            reasons.setdefault(row["reason"].removeprefix(NOT_TRIED_REASON), []).append(row["gate"] or row["depth"])
    for reason, gates in reasons.items():
        what = ", ".join(gate for gate in gates if gate)
        click.echo(f"  not tried  {what}{': ' if what else ''}{for_terminal(reason)}")
