"""`differential_tests.inference_compare`: one prompt, greedy, on the artifact and on its source, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState
    from pytest_aprqa.suite.source_engine import Compared

BLOCK = "differential_tests.inference_compare"
DEFAULT_PROMPT = "What is 2+2?"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-INF-001", severity="P0")
@pytest.mark.depth("logits")
def test_best_tokens_of_the_answer_are_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """At every step of the source's answer the artifact prefers the same token, but where the source hardly chose."""
    from pytest_aprqa.suite.parity import limits_of

    both = _both(engine, playbook, run_state, observe)
    margin = limits_of(engine, declared_artifact)[1].margin
    problems = []
    if both.found_logits is None:
        if both.found.text != both.expected.text:
            problems.append(f"answer {both.found.text[:60]!r}, {both.expected.text[:60]!r} in the source")
    else:
        tokens = declared_artifact.tokenizer.tokens
        for at, (mine, row) in enumerate(zip(both.found_logits, both.expected_logits, strict=True)):
            best, found = int(row.argmax()), int(mine[: row.shape[0]].argmax())
            lead = float(row[best] - row[found])
            if best != found and lead > margin:
                names = [tokens[i] if i < len(tokens) else f"id {i}" for i in (found, best)]
                problems.append(f"token {at}: {names[0]!r}, {names[1]!r} in the source by {lead:.3g} nats")
                observe.finding(f"token {at}", found, best, f"the source leads by {lead:.3g} nats, limit {margin:g}")
    observe("tokens_compared", len(both.expected.new_ids or []), limit=">= 1")
    observe("tokens_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-INF-002", severity="P1")
@pytest.mark.depth("logits")
def test_logits_of_the_answer_are_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """No logit of the answer differs by more than the playbook's tolerance, or than the stored type explains."""
    import numpy

    both = _both(engine, playbook, run_state, observe)
    if both.found_logits is None:
        pytest.skip("the engine tells no logits")
    limit, why = _tolerance(engine, declared_artifact, reference, playbook)
    width = min(both.found_logits.shape[1], both.expected_logits.shape[1])
    difference = numpy.abs(both.found_logits[:, :width].astype(numpy.float64) - both.expected_logits[:, :width])
    largest = float(difference.max())
    at = int(numpy.unravel_index(int(difference.argmax()), difference.shape)[0])
    passed = largest <= limit
    observe("tolerance_from", why)
    observe("max_logit_diff", largest, limit=limit, passed=passed)
    if not passed:
        observe.finding(f"token {at}", largest, limit, "another logit")
    assert passed, f"largest difference of a logit {largest:.3g} at token {at}, limit {limit:.3g} ({why})"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-INF-003", severity="P0")
@pytest.mark.depth("text")
def test_answer_is_no_flood_of_padding(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """At most half of the answer's tokens are padding or unused entries of the vocabulary."""
    from pytest_aprqa.suite.padding import MOST_PADDING, padding_share

    both = _both(engine, playbook, run_state, observe)
    ids = both.found.new_ids
    if not ids:
        pytest.skip("the engine generated nothing or does not tell which ids it generated")
    share = padding_share(declared_artifact, ids)
    observe("padding_share", share, limit=MOST_PADDING, passed=share <= MOST_PADDING)
    assert share <= MOST_PADDING, f"{share:.0%} of {len(ids)} tokens are padding, limit {MOST_PADDING:.0%}"


def _both(engine: LoadedEngine, playbook: Playbook, run_state: RunState, observe: Observe) -> Compared:
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.suite.compared_sides import NothingCompared
    from pytest_aprqa.suite.source_engine import compared, is_the_reference

    if is_the_reference(engine):
        pytest.skip("this is the ground truth on the reference engine: the others are compared with it")
    block = playbook.blocks[BLOCK]
    request = GenerationRequest(
        key="compare",
        prompt=block.get("prompt") or DEFAULT_PROMPT,
        mode="raw",
        max_new_tokens=block["max_tokens"],
        temperature=0.0,
        seed=0,
    )
    both = compared(engine, run_state, request)
    observe("prompt", request.prompt)
    if not both.expected.new_ids:
        pytest.skip("the source itself answers nothing to this prompt: nothing to compare")
    if not both.expected_logits.any() or (both.found_logits is not None and not both.found_logits.any()):
        raise NothingCompared("all logits are zero: a comparison of zeros is none")
    return both


def _tolerance(
    engine: LoadedEngine, artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook
) -> tuple[float, str]:
    """(limit, where it comes from): the playbook's where only the values decide, else no less than the type's."""
    from pytest_aprqa.numerics.limits import limit_for
    from pytest_aprqa.suite.parity import EXACT_ARITHMETIC, limits_of
    from pytest_aprqa.suite.source_engine import REFERENCE_ENGINE

    tolerance = float(playbook.blocks[BLOCK]["tolerance"])
    label, limits = limits_of(engine, artifact)
    mine, source = artifact.tensors, reference.tensors
    present = set(mine.names())
    lossless = all(
        limit_for(mine.entry(name).dtype, source.entry(name).dtype) == 0 for name in source.names() if name in present
    )
    exact = str(engine.description.dtype).lower() in EXACT_ARITHMETIC
    if lossless and exact and engine.description.name == REFERENCE_ENGINE:
        return tolerance, "the playbook"
    return max(tolerance, limits.margin), f"the noise of {label} on {engine.description.name}"
