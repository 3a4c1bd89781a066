"""Gateways G0 to G4: integrity, loading, basic inference, stability, quality. A failure of one zeroes the score."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import CellAnswers, LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario
    from pytest_aprqa.run_state import RunState

_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")


@pytest.mark.opens_artifact
@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-FILE", severity="P0")
@pytest.mark.depth("structure")
def test_file_is_sound(artifact: OpenArtifact, observe: Observe) -> None:
    """The file opens: header, index, checksums and bounds hold, and it has tensors."""
    observe.advise("fetch or convert the file again; compare its sha256 with the publisher's")
    observe("tensors", len(artifact.file.entries), limit=">= 1")
    for warning in artifact.file.warnings:
        observe("warning", warning)
    shard = _SHARD.search(artifact.file.path.name) if artifact.format == "safetensors" else None
    if shard is not None and int(shard[1]) > 1:
        problem = f"is one of {int(shard[1])} shards, and there is no index that names the others"
        observe.finding(artifact.file.path.name, problem, "an index", "the index of the shards is missing")
        pytest.fail(f"{artifact.file.path.name}: {problem}", pytrace=False)
    assert len(artifact.file.entries) > 0, f"{artifact.file.path}: no tensor in the file"


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-VALIDATE-001", severity="P0")
@pytest.mark.depth("weights")
def test_tensor_values_are_sound(
    artifact: OpenArtifact, model: ModelUnderTest, run_state: RunState, observe: Observe
) -> None:
    """Every tensor is free of NaN and infinity and is not zero throughout."""
    from pytest_aprqa.formats.errors import UndecodableType
    from pytest_aprqa.suite.judged_weights import read_beside_the_source
    from pytest_aprqa.suite.tensor_values import values_of
    from pytest_aprqa.suite.untried import skip_untried

    observe.advise("the weights themselves are damaged: fetch or convert the file again")
    read_beside_the_source(model, artifact, run_state)
    problems: list[str] = []
    untried: dict[str, str] = {}
    for name, entry in artifact.file.entries.items():
        try:
            counts = values_of(artifact.file, name)
        except UndecodableType as error:
            untried[name] = error.problem
            continue
        if counts.nan or counts.infinite:
            bad = f"{counts.nan} NaN, {counts.infinite} infinite"
            observe.finding(name, bad, "finite values", "NaN or infinite values")
            problems.append(f"{name}: {counts.nan} NaN, {counts.infinite} infinite of {counts.total} values")
        elif counts.total and not counts.nonzero and not name.endswith(".bias"):
            observe.finding(name, f"{counts.total} zeros", "a value that is not zero", "all zero")
            problems.append(f"{name}: all {counts.total} values are zero")
        elif not counts.total and entry.nbytes:
            observe.finding(name, "no value", "values", "no value could be read")
            problems.append(f"{name}: no value could be read")
    observe("tensors_read", len(artifact.file.entries) - len(untried), limit=">= 1")
    observe("damaged_tensors", len(problems), limit=0, passed=not problems)
    assert not problems, f"{artifact.file.path.name}: {listed(problems)}"
    if untried:
        skip_untried(untried)


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-TENSOR-001", severity="P0")
@pytest.mark.depth("structure")
def test_tensors_are_those_of_the_family(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The set of tensor names is the family's template, expanded for every layer."""
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.models.families import expected_tensors

    artifact = declared_artifact
    try:
        expected = expected_tensors(artifact.config)
    except ModelError as error:
        pytest.skip(f"no tensor template: {error}")
    present = set(artifact.tensors.names())
    missing = sorted(set(expected) - present)
    extra = sorted(present - set(expected) - {"lm_head.weight"})
    observe.advise("a tensor was lost, renamed or added on the way: convert the model again")
    observe("expected_tensors", len(expected), limit=">= 1")
    observe("missing_tensors", len(missing), limit=0, passed=not missing)
    observe("extra_tensors", len(extra), limit=0, passed=not extra)
    for name in missing:
        observe.finding(name, "missing", "in the family's template", "the tensor was lost or renamed")
    for name in extra:
        observe.finding(name, "present", "not in the family's template", "the tensor was added or renamed")
    family = artifact.config.architecture
    problems = [f"Missing {len(missing)} tensors from {family} template: {listed(missing, 5)}"] if missing else []
    problems += [f"{len(extra)} tensors that the {family} template does not have: {listed(extra, 5)}"] if extra else []
    assert not problems, f"{artifact.file.path.name}: {'; '.join(problems)}"


@pytest.mark.gateway("G1")
@pytest.mark.gate("G1-TOKENIZER-001", severity="P0")
@pytest.mark.depth("tokens")
def test_tokenizer_is_complete(declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> None:
    """The file brings a tokenizer that fits its vocabulary and, for chat, a chat template."""
    artifact = declared_artifact
    observe.advise("the conversion lost the tokenizer or took another model's: convert again with the tokenizer")
    tokenizer = artifact.tokenizer
    rows = artifact.config.vocab_size
    largest = max(len(tokenizer.tokens) - 1, *tokenizer.end_ids, 0)
    unknown = tokenizer.unknown_end_ids
    observe("tokens", len(tokenizer.tokens), limit=f"<= {rows}")
    observe("end_ids_without_token", len(unknown), limit=0, passed=not unknown)
    observe("largest_token_id", largest, limit=rows - 1, passed=largest < rows)
    assert tokenizer.end_ids, f"{artifact.file.path.name}: no token that ends a generation is declared"
    assert largest < rows, (
        f"{artifact.file.path.name}: token id {largest} is outside the vocabulary of {rows} embedding rows"
    )
    assert not unknown, (
        f"{artifact.file.path.name}: token {unknown[0]} is declared to end a generation, but the tokenizer has only"
        f" {len(tokenizer.tokens)} tokens and no such one"
    )
    if "chat" in playbook.matrix.modalities:
        assert tokenizer.chat_template, f"{artifact.file.path.name}: no chat template, but the playbook asks for chat"


@pytest.mark.loads_engine
@pytest.mark.gateway("G1")
@pytest.mark.gate("G1-LOAD-001", severity="P0")
@pytest.mark.depth("logits")
def test_model_loads(engine: LoadedEngine, observe: Observe) -> None:
    """The engine loads the artifact strictly: no tensor missing, none left over, none of another shape."""
    observe("engine", f"{engine.description.name} {engine.description.version}")
    assert engine.description.backend == engine.backend, (
        f"asked for backend {engine.backend}, the engine ran on {engine.description.backend}"
    )


@pytest.mark.gateway("G2")
@pytest.mark.gate("G2-BASIC", severity="P0")
def test_basic_inference_answers(answers: CellAnswers, observe: Observe) -> None:
    """Every prompt of the cell gets an answer: at least one new token and text that is not blank."""
    from pytest_aprqa.engines.errors import EngineCrashed, EngineTimeout

    observe.advise("look at the tokenizer's stop tokens and at the chat template: the model ends before it begins")
    problems = [
        f"{key}: {error}"
        for key, error in answers.failures.items()
        if not isinstance(error, (EngineCrashed, EngineTimeout))
    ]
    problems += [f"{key}: no text" for key, result in answers.results.items() if not result.text.strip()]
    asked = len(answers.results) + len(answers.failures)
    observe("prompts_asked", asked, limit=">= 1")
    observe("prompts_without_text", len(problems), limit=0, passed=not problems)
    if not answers.results and not problems:
        pytest.skip("blocked: the engine died on every prompt, see G3-STABLE")
    assert asked > 0, "no prompt was asked"
    assert not problems, f"{len(problems)} of {asked} prompts without an answer: {listed(problems)}"


@pytest.mark.gateway("G3")
@pytest.mark.gate("G3-STABLE", severity="P0")
def test_engine_survives(answers: CellAnswers, observe: Observe) -> None:
    """The engine neither crashed nor exceeded the time limit on any prompt of the cell."""
    observe.advise("run the named prompt alone; the engine's last words are in the evidence (stderr)")
    guilty = {key: error for key, error in answers.failures.items() if error in answers.deaths}
    observe("prompts_asked", len(answers.results) + len(answers.failures), limit=">= 1")
    observe("engine_deaths", len(answers.deaths), limit=0, passed=not answers.deaths)
    for key in guilty:
        observe("prompt", key, passed=False)
    if answers.deaths:
        raise answers.deaths[-1].with_traceback(None)
    assert answers.results or answers.failures, "no prompt was asked"


@pytest.mark.gateway("G4")
@pytest.mark.gate("G4-GARBAGE-001", severity="P0")
def test_output_is_not_garbage(
    answer: GenerationResult, scenario: Scenario, playbook: Playbook, observe: Observe
) -> None:
    """The output is text, not repetition, control characters, NaN or token soup."""
    from pytest_aprqa.oracles.garbage import judge_garbage
    from pytest_aprqa.suite.findings import oracle_settings

    observe.advise("compare the first diverging tensor with the SafeTensors source: wrong layout, scale or rotary base")
    judgement = judge_garbage(
        answer.text, truncated=answer.finish_reason == "length", **oracle_settings(playbook, "garbage")
    )
    observe("garbage", judgement.verdict, passed=judgement.verdict == "pass")
    assert judgement.verdict == "pass", f"{judgement.reason}: {answer.text[:80]!r} for prompt {scenario.prompt!r}"
