"""`aprqa parity`: record golden answers of transformers, compare artifacts with them, show that this can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_aprqa.suite.corpus_answers import PromptParity
    from pytest_aprqa.suite.golden_corpus import Corpus

LEVELS = ("fp32", "fp16", "int8", "int4")
TIMEOUT_S = 600.0  # for loading, and for each prompt: a large model on a slow processor is no finding


@click.command()
@click.argument("corpus", required=False, type=click.Path(path_type=Path))
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="MODEL_FOLDER", help="Record a corpus of this model."
)
@click.option("--output", type=click.Path(path_type=Path), metavar="CORPUS", help="Where --record writes.")
@click.option("-p", "--prompt", "prompts", multiple=True, help="Prompts to record; or the only ones to compare.")
@click.option("--new-tokens", type=click.IntRange(1, 256), default=8, show_default=True, help="Tokens of an answer.")
@click.option("-t", "--tolerance", type=click.Choice(LEVELS), help="Level; otherwise that of the file's own type.")
@click.option("-m", "--model-family", help="Folder below CORPUS that holds the manifest.")
@click.option(
    "-c", "--corpus-path", type=click.Path(path_type=Path), help="CORPUS, where only ARTIFACT is an argument."
)
@click.option("--list", "list_only", is_flag=True, help="Show what the corpus holds.")
@click.option("--self-check", is_flag=True, help="Show that sound answers pass and seeded faults of each do not.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(
    corpus: Path | None,
    artifact: Path | None,
    record: Path | None,
    output: Path | None,
    prompts: tuple[str, ...],
    new_tokens: int,
    tolerance: str | None,
    model_family: str | None,
    corpus_path: Path | None,
    list_only: bool,
    self_check: bool,
    as_json: bool,
) -> int:
    """Compare ARTIFACT (GGUF, APR, SafeTensors) with the golden answers in CORPUS: prompt ids, tokens and logits.

    A corpus is recorded once with transformers: aprqa parity --record MODEL_FOLDER --output CORPUS. Exit codes: 0
    parity, 1 another model, a corrupted corpus or a failed self-check, 2 wrong use.
    Example: aprqa parity corpus model.gguf --tolerance int8
    """
    if corpus_path is not None:
        if artifact is not None:
            raise click.UsageError("--corpus-path is CORPUS: give it once")
        corpus, artifact = corpus_path, corpus
    if record is not None:
        if output is None or corpus is not None:
            raise click.UsageError("--record needs --output CORPUS and no other argument")
        return _record(record, output, prompts, new_tokens, as_json)
    if corpus is None:
        raise click.UsageError("give CORPUS and ARTIFACT, or --record MODEL_FOLDER --output CORPUS")
    from pytest_aprqa.suite.golden_corpus import open_corpus

    opened = open_corpus(corpus / model_family if model_family else corpus)
    if list_only:
        return _list(opened, as_json)
    if self_check:
        return _self_check(opened, as_json)
    if artifact is None:
        raise click.UsageError("give the ARTIFACT to compare with the corpus, or --list, or --self-check")
    return _compare(opened, artifact, tolerance, prompts, as_json)


def _record(folder: Path, output: Path, prompts: tuple[str, ...], new_tokens: int, as_json: bool) -> int:
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.suite.corpus_recording import PROMPTS, record

    with working(f"recording answers of {for_terminal(folder.name)}"):
        made = record(folder, output, prompts or PROMPTS, new_tokens)
    if as_json:
        click.echo(json.dumps({"corpus": str(output), **made.facts}, indent=2))
        return 0
    click.echo(
        f"{output}: {len(made.hashes)} prompts of {made.facts['model']}, sha256 {made.facts['model_sha256'][:16]}"
    )
    click.echo(f"compare: aprqa parity {output} ARTIFACT")
    return 0


def _list(corpus: Corpus, as_json: bool) -> int:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    rows = [
        {"hash": number, "prompt": golden.prompt, "text": golden.generated_text, "rows": golden.logits.shape[0]}
        for number, golden in zip(corpus.hashes, corpus, strict=True)
    ]
    if as_json:
        click.echo(json.dumps({"corpus": str(corpus.folder), "prompts": rows}, indent=2))
        return 0
    for row in rows:
        click.echo(f"{row['hash']}  {for_terminal(repr(row['prompt']))} -> {for_terminal(repr(row['text']))}")
    return 0


def _self_check(corpus: Corpus, as_json: bool) -> int:
    """Every golden answer must pass against itself and fail with each seeded fault, at every level."""
    from pytest_aprqa.cli.progress_bar import bar
    from pytest_aprqa.suite.corpus_parity import level_named
    from pytest_aprqa.suite.corpus_self_check import self_check

    failures, passed = [], 0
    with bar("seeding faults", len(corpus.hashes)) as progress:
        for done, golden in enumerate(corpus):
            progress(done)
            for name in LEVELS:
                for what, right in self_check(golden, level_named(name)):
                    passed += right
                    if not right:
                        failures.append(f"{golden.prompt!r}, {name}: {what}")
    if as_json:
        click.echo(json.dumps({"passed": passed, "failed": len(failures), "failures": failures}, indent=2))
    else:
        click.echo(f"Passed: {passed}")
        click.echo(f"Failed: {len(failures)}")
        for failure in failures[:10]:
            click.echo(f"  {failure}")
    return int(bool(failures))


def _compare(corpus: Corpus, path: Path, tolerance: str | None, prompts: tuple[str, ...], as_json: bool) -> int:
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.hostile_text import for_terminal
    from pytest_aprqa.suite.golden_corpus import CorpusError

    wanted = set(prompts)
    goldens = [golden for golden in corpus if not wanted or golden.prompt in wanted]
    if not goldens:
        raise CorpusError(f"{corpus.folder}: none of its prompts is {sorted(wanted)}; see --list")
    with working(f"asking {for_terminal(path.name)} {len(goldens)} prompts"):
        level, results = _ask(path, goldens, tolerance)
    passed = all(one.passed for one in results)
    if as_json:
        rows = [_row(one) for one in results]
        click.echo(json.dumps({"artifact": str(path), "tolerance": level, "passed": passed, "prompts": rows}, indent=2))
        return int(not passed)
    for one in results:
        largest = f"largest difference {one.logits.largest:.3g}" if one.logits is not None else ""
        click.echo(f"  {'ok  ' if one.passed else 'FAIL'} {for_terminal(repr(one.prompt))}  {largest}")
        for problem in one.problems:
            click.echo(f"       {for_terminal(problem)}")
    word, colour = ("PARITY VERIFIED", "green") if passed else ("PARITY FALSIFIED", "red")
    good = sum(one.passed for one in results)
    click.secho(f"{word}: {good} of {len(results)} prompts of {corpus.facts.get('model')} at {level}", fg=colour)
    return int(not passed)


def _row(one: PromptParity) -> dict[str, Any]:
    row: dict[str, Any] = {"prompt": one.prompt, "passed": one.passed, "problems": list(one.problems)}
    if one.logits is not None:
        largest = one.logits.largest if one.logits.largest != float("inf") else "Infinity"
        row |= {"logits": one.logits.total, "mismatches": one.logits.mismatches, "largest": largest}
    return row


def _ask(path: Path, goldens: list[Any], tolerance: str | None) -> tuple[str, list[PromptParity]]:
    """(level, what came of each prompt) of a file on the reference engine, in a child process."""
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.formats.opening import open_tensor_file
    from pytest_aprqa.models.artifact import describe_artifact, open_artifact
    from pytest_aprqa.suite.corpus_answers import ask
    from pytest_aprqa.suite.corpus_parity import level_for, level_named
    from pytest_aprqa.suite.stored_types import base_type, declared_label, majority_type

    with open_tensor_file(path) as file:
        format_name = file.format
    artifact = describe_artifact(path, format_name)
    with open_artifact(artifact) as opened, EngineHost("torch") as host:
        entries = (opened.tensors.entry(name) for name in opened.tensors.names())
        label = declared_label(opened) or majority_type(entries) or "F32"
        level = level_named(tolerance) if tolerance else level_for(base_type(label))
        host.load(artifact, timeout_s=TIMEOUT_S)
        encode = opened.tokenizer.encode
        return level.name, [
            ask(golden, encode, lambda ids: host.logits(ids, timeout_s=TIMEOUT_S), level) for golden in goldens
        ]
