"""`hf_parity`: every artifact against the golden answers of transformers that the playbook names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.suite.corpus_answers import PromptParity
    from pytest_aprqa.suite.golden_corpus import Corpus

BLOCK = "hf_parity"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-HF-PARITY-004", severity="P1")
def test_golden_corpus_is_sound(playbook: Playbook, observe: Observe) -> None:
    """Every golden answer is there, has the digest of the manifest, and its logits chose its tokens."""
    corpus = _corpus(playbook)
    prompts = [golden.prompt for golden in corpus]
    observe("prompts", len(prompts), limit=">= 1", passed=bool(prompts))
    observe("model", corpus.facts.get("model"))
    observe("transformers_version", corpus.facts.get("transformers_version"))
    assert prompts, f"{corpus.folder}: no prompt"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-HF-PARITY-001", severity="P0")
@pytest.mark.depth("logits")
def test_logits_are_those_of_transformers(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The logits of every golden prompt are transformers' within the tolerance of the level."""
    results = _results(engine, declared_artifact, playbook, observe)
    compared = [one for one in results if one.logits is not None]
    largest = max((one.logits.largest for one in compared if one.logits is not None), default=float("nan"))
    problems = [f"{one.prompt!r}: {one.logits}" for one in compared if one.logits is not None and not one.logits.passed]
    observe("prompts_compared", len(compared), limit=">= 1")
    observe("largest_logit_difference", largest)
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    observe.advise("the file, or the engine that reads it, is not the model that transformers loaded: look at I-4")
    if not compared:
        pytest.skip("blocked: no golden prompt has the corpus' ids here, see F-HFP-002")
    assert not problems, f"{len(problems)} of {len(compared)} prompts: {listed(problems)}"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-HFP-002", severity="P0")
@pytest.mark.depth("logits")
def test_tokens_are_those_of_transformers(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The tokenizer makes transformers' prompt ids, and the model prefers transformers' tokens."""
    results = _results(engine, declared_artifact, playbook, observe)
    problems = [
        f"{one.prompt!r}: {problem}"
        for one in results
        for problem in one.problems
        if problem.startswith(("prompt ids", "token "))
    ]
    observe("prompts_compared", len(results), limit=">= 1", passed=bool(results))
    observe("differences", len(problems), limit=0, passed=not problems)
    assert results, "the corpus has no prompt"
    assert not problems, listed(problems)


def _corpus(playbook: Playbook) -> Corpus:
    """The playbook's corpus; skipped where it is not there at all, CorpusError where it is not sound."""
    from pytest_aprqa.suite.golden_corpus import open_corpus

    folder = playbook.path.parent / playbook.blocks[BLOCK]["corpus"]
    if not folder.exists():
        pytest.skip(f"{BLOCK}.corpus: {folder} is not there; record it: aprqa parity --record MODEL --output {folder}")
    return open_corpus(folder)


def _results(engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> list[PromptParity]:
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.corpus_answers import ask
    from pytest_aprqa.suite.corpus_parity import level_for, level_named
    from pytest_aprqa.suite.golden_corpus import CorpusError
    from pytest_aprqa.suite.parity import ask_once
    from pytest_aprqa.suite.stored_types import base_type, declared_label, majority_type

    entries = (artifact.tensors.entry(name) for name in artifact.tensors.names())
    label = declared_label(artifact) or majority_type(entries) or "F32"
    named = playbook.blocks[BLOCK].get("tolerance")
    level = level_named(named) if named else level_for(base_type(label))
    observe("level", level.name)

    def compute() -> list[PromptParity]:
        corpus = _corpus(playbook)
        return [ask(golden, artifact.tokenizer.encode, engine.logits, level) for golden in corpus]

    try:
        return ask_once(engine, BLOCK, compute)
    except EngineUnavailable as error:
        pytest.skip(str(error))
    except CorpusError as error:
        pytest.skip(f"blocked: the corpus is not sound, see F-HF-PARITY-004: {error}")
