"""`trace_payload`: hidden states of every layer for one prompt: finite, alive, in range, and the source's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

BLOCK = "trace_payload"
DEFAULT_PROMPT = "What is 2+2?"
NEW_TOKENS = 32
LARGEST = 100.0  # of a hidden state, F-TRACE-006; where the source has more, twice what it has
LEAST_COSINE = 0.99  # F-TRACE-DIFF-001
MOST_REPEATED = 0.5  # share of words that were said before
PRIVATE = ((0xE000, 0xF8FF), (0x20000, 0x2FFFF))  # code points that gates.md 9 counts as garbage


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-TRACE-PAYLOAD-001", severity="P0")
@pytest.mark.depth("logits")
def test_hidden_states_are_finite_and_alive(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """No hidden state is NaN or infinite, and in no layer are all of them the same value."""
    import numpy

    problems = []
    states = _states(engine, declared_artifact, playbook, observe)
    for number, state in enumerate(states):
        name = _layer(number)
        bad = int((~numpy.isfinite(state)).sum())
        variance = float(state.astype(numpy.float64).var()) if not bad else float("nan")
        observe(f"variance[{name}]", variance, limit="> 0", passed=variance > 0)
        if bad:
            problems.append(f"{name}: {bad} of {state.size} values are NaN or infinite")
            observe.finding(name, f"{bad} values", "finite values", "NaN or infinite hidden states")
        elif not variance > 0:
            problems.append(f"{name}: every value is {float(state.flat[0]):g}")
            observe.finding(name, "variance 0", "> 0", "the layer carries nothing")
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-TRACE-PAYLOAD-002", severity="P0")
@pytest.mark.depth("text")
def test_traced_answer_is_no_garbage(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The answer to the traced prompt does not repeat half of its words and has no private-use characters."""
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.oracles.garbage import judge_garbage

    prompt = _prompt(playbook)
    request = GenerationRequest(key="trace", prompt=prompt, mode="raw", max_new_tokens=NEW_TOKENS)
    text = engine.generate([request])[0].text
    words = text.split()
    repeated = 1 - len(set(words)) / len(words) if words else 0.0
    private = [char for char in text if any(low <= ord(char) <= high for low, high in PRIVATE)]
    judgement = judge_garbage(text)
    observe("answer", text)
    observe("repeated_words", repeated, limit=MOST_REPEATED, passed=repeated <= MOST_REPEATED)
    observe("private_characters", len(private), limit=0, passed=not private)
    assert judgement.verdict != "fail", f"{prompt!r}: {judgement.reason}"
    assert repeated <= MOST_REPEATED, f"{prompt!r}: {repeated:.0%} of {len(words)} words are repetitions"
    assert not private, f"{prompt!r}: private-use character U+{ord(private[0]):04X}"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-TRACE-PAYLOAD-003", severity="P1")
@pytest.mark.depth("logits")
def test_hidden_states_are_in_range(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """No hidden state is beyond 100; where the source's own are, not beyond twice the source's."""
    import numpy

    from pytest_aprqa.suite.source_engine import source_states

    states = _states(engine, declared_artifact, playbook, observe)
    largest = [float(numpy.abs(state).max()) for state in states]
    limits = [LARGEST] * len(states)
    if any(not one <= LARGEST for one in largest):
        theirs = source_states(engine, run_state, _ids(declared_artifact, playbook))
        own = [float(numpy.abs(state).max()) for state in theirs]
        limits = [max(LARGEST, 2 * value) for value in own] + [LARGEST] * (len(states) - len(own))
    problems = []
    for number, (found, limit) in enumerate(zip(largest, limits, strict=False)):
        observe(f"largest[{_layer(number)}]", found, limit=limit, passed=found <= limit)
        if not found <= limit:
            problems.append(f"{_layer(number)}: {found:.4g}, limit {limit:.4g}")
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-TRACE-DIFF-001", severity="P1")
@pytest.mark.depth("logits")
def test_hidden_states_are_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """Every layer's hidden states point where the source's do; the first layer that diverges is named."""
    from pytest_aprqa.numerics.first_divergence import first_layer
    from pytest_aprqa.suite.source_engine import is_the_reference, source_states

    if is_the_reference(engine):
        pytest.skip("this is the ground truth on the reference engine: the others are compared with it")
    mine = _states(engine, declared_artifact, playbook, observe)
    theirs = source_states(engine, run_state, _ids(declared_artifact, playbook))
    assert len(mine) == len(theirs), f"{len(mine)} layers of hidden states, {len(theirs)} in the source"
    problems = []
    for number, (found, expected) in enumerate(zip(mine, theirs, strict=True)):
        cosine = _cosine(expected, found)
        observe(f"cosine[{_layer(number)}]", cosine, limit=LEAST_COSINE, passed=cosine > LEAST_COSINE)
        if not cosine > LEAST_COSINE:
            problems.append(f"{_layer(number)}: cosine {cosine:.4f}, limit > {LEAST_COSINE}")
    first = first_layer(theirs, mine)
    where = "" if first is None else f"; first divergence after {_layer(first[0])}"
    assert not problems, listed(problems) + where


def _cosine(expected: Any, found: Any) -> float:
    """Of all values of a layer; 0 where the shapes differ or a side is zero: never a success."""
    import numpy

    if expected.shape != found.shape:
        return 0.0
    x, y = (side.astype(numpy.float64).ravel() for side in (expected, found))
    norm = float(numpy.linalg.norm(x) * numpy.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0


def _states(engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> list[Any]:
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.compared_sides import NothingCompared
    from pytest_aprqa.suite.parity import ask_once

    ids = _ids(artifact, playbook)
    try:
        states: list[Any] = ask_once(engine, f"states-{ids}", lambda: engine.hidden_states(ids))
    except EngineUnavailable as error:
        pytest.skip(str(error))
    observe("layers", len(states), limit=">= 2", passed=len(states) >= 2)
    if not any(state.any() for state in states):
        raise NothingCompared(f"all hidden states of {len(states)} layers are zero: nothing was traced")
    return states


def _ids(artifact: OpenArtifact, playbook: Playbook) -> list[int]:
    return artifact.tokenizer.encode(_prompt(playbook))


def _prompt(playbook: Playbook) -> str:
    return str(playbook.blocks[BLOCK].get("prompt") or DEFAULT_PROMPT)


def _layer(number: int) -> str:
    return "embedding" if number == 0 else f"layer {number - 1}"
