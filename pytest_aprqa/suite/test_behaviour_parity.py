"""I-1 and its relatives: the artifact behaves as its source does, in greedy tokens and in logits."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.numerics.logit_comparison import LogitDistance
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

STANDARD_ERRORS = 3  # of the mean divergence that are allowed on top of its limit
POSITIONS_NAMED = 3


@pytest.mark.invariant("I-1")
@pytest.mark.gate("F-HFP-001", severity="P0")
@pytest.mark.depth("logits")
def test_logits_are_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """Mean KL divergence over the whole vocabulary, teacher-forced, is within the limit of the stored type."""
    from pytest_aprqa.suite.parity import limits_of

    sequences, distance = _distance(engine, playbook, run_state, observe)
    label, limits = limits_of(engine, declared_artifact)
    limit = limits.kld + STANDARD_ERRORS * distance.standard_error
    passed = distance.mean_kld <= limit and not distance.not_finite
    observe("judged_as", label)
    observe("mean_kld", distance.mean_kld, limit=limit, unit="nats", passed=passed)
    observe("standard_error", distance.standard_error, unit="nats")
    observe("largest_kld", distance.worst[2], unit="nats")
    for power, positions in sorted(distance.decades.items()):
        observe(f"positions[kld from 1e{power:+03d}]", positions)
    observe.advise("weights and declarations decide: look at I-4 and G0-INTEGRITY-SOURCE for the same file first")
    if passed:
        return
    number, position, worst = distance.worst
    layer = _name_layer(engine, sequences[number], run_state, observe)
    where = f"sequence {number}, token {position}"
    observe.finding(
        where, f"KLD {worst:.3g}, mean {distance.mean_kld:.3g}", f"mean {limit:.3g}", f"other logits{layer}"
    )
    bad = f", {distance.not_finite} positions with NaN or infinite logits" if distance.not_finite else ""
    pytest.fail(
        f"mean KL divergence {distance.mean_kld:.3g} nats over {distance.tokens} tokens, limit {limit:.3g} for"
        f" {label}{bad}; largest {worst:.3g} at {where}{layer}",
        pytrace=False,
    )


@pytest.mark.invariant("I-1")
@pytest.mark.gate("F-PARITY-001", severity="P0")
@pytest.mark.depth("logits")
def test_best_tokens_are_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """The best token is the source's, except within the noise of the type: small leads, and few larger ones."""
    from pytest_aprqa.suite.parity import limits_of

    _, distance = _distance(engine, playbook, run_state, observe)
    _, limits = limits_of(engine, declared_artifact)
    differ = distance.disagreements or []
    matter = [one for one in differ if one.margin > limits.margin]
    observe("top1_agreement", distance.top1_agreement)
    observe("positions_that_differ", len(differ))
    allowed = limits.allowed_beyond(distance.tokens)
    wrong = len(matter) > allowed
    observe("positions_that_matter", len(matter), limit=allowed, passed=not wrong)
    observe.advise("weights and declarations decide: look at I-4 and G0-INTEGRITY-SOURCE for the same file first")
    for one in matter if wrong else []:
        where = f"sequence {one.sequence}, token {one.position}"
        observe.finding(
            where, f"best token {one.found}", f"{one.expected}, leading by {one.margin:.3g}", "other logits"
        )
    told = [
        f"sequence {m.sequence} token {m.position}: {m.found} for {m.expected} (lead {m.margin:.2g})" for m in matter
    ]
    assert distance.tokens, "no position was compared"
    few = f" (limit {allowed})" if allowed else ""
    assert not wrong, f"{len(matter)} of {distance.tokens} positions{few}, lead above {limits.margin}: {listed(told)}"


@pytest.mark.gate("F-PAR-003", severity="P2")
@pytest.mark.depth("logits")
def test_perplexity_is_the_sources(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """Perplexity on the reference's own sequences exceeds the source's by no more than the type allows."""
    from pytest_aprqa.suite.parity import limits_of

    _, distance = _distance(engine, playbook, run_state, observe)
    label, limits = limits_of(engine, declared_artifact)
    ratio = distance.perplexity_ratio
    passed = ratio <= limits.perplexity_ratio
    observe("perplexity_of_source", distance.perplexity_reference)
    observe("perplexity_ratio", ratio, limit=limits.perplexity_ratio, passed=passed)
    if not distance.predicted:
        pytest.skip("the source itself is worse than chance on every sequence: its perplexity says nothing")
    if not passed:
        observe.finding("perplexity", f"{ratio:.4g} times", f"{limits.perplexity_ratio} times", "other logits")
    assert passed, f"perplexity is {ratio:.4g} times the source's, limit {limits.perplexity_ratio} for {label}"


@pytest.mark.invariant("I-1")
@pytest.mark.gate("F-CONTRACT-I1-001", severity="P0")
@pytest.mark.depth("text")
def test_round_trip_identity(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """Greedy ids are the SafeTensors reference's, except within the noise of the type: small leads, few larger ones."""
    from pytest_aprqa.suite.parity import answers_of, limits_of, token_difference

    expected, found, _ = answers_of(engine, playbook, run_state)
    label, limits = limits_of(engine, declared_artifact)
    observe.advise("run the numbers: the first diverging tensor is named by I-4, a wrong declaration by G0")
    observe("judged_as", label)
    observe("prompts_compared", len(expected.answers), limit=">= 1")
    compared = sum(len(answer.new_ids) for answer in expected.answers)
    observe("tokens_compared", compared, limit=">= 1")
    assert compared > 0, f"the reference {reference.file.path.name} generated no token: nothing was compared"
    pairs = zip(expected.answers, found, strict=True)
    differ = [d for answer, one in pairs if (d := token_difference(answer, one, limits.margin)) is not None]
    matter = [one for one in differ if one.matters]
    total = len(expected.answers)
    allowed = limits.allowed_answers(total)
    # Another prompt, or an answer that goes on, is no noise of two bits: nothing excuses it.
    wrong = len(matter) > allowed or any(isinf(one.margin) for one in matter)
    observe("prompts_that_differ", len(differ))
    observe("prompts_that_matter", len(matter), limit=allowed, passed=not wrong)
    for one in matter if wrong else []:
        where = f"{one.prompt[:40]!r}, token {one.at}"
        lead = f"{one.expected}, leading by {one.margin:.3g}"
        observe.finding(where, str(one.found), lead, "another answer than the source's")
    told = [f"{d.prompt!r}: token {d.at}: reference {d.expected}, found {d.found}" for d in matter]
    few = f" (limit {allowed})" if allowed else ""
    assert not wrong, f"{len(matter)} of {total} prompts differ from the reference{few}: {listed(told)}"


@pytest.mark.invariant("I-1")
@pytest.mark.gate("F-GOLDEN-RULE-001", severity="P0")
@pytest.mark.depth("text")
def test_golden_rule(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """`What is 2+2?`, 10 tokens, greedy: the source's answer is not empty and the artifact's is the same."""
    from pytest_aprqa.suite.parity import answers_of, limits_of, token_difference

    expected, _, found = answers_of(engine, playbook, run_state)
    _, limits = limits_of(engine, declared_artifact)
    golden = expected.golden
    difference = token_difference(golden, found, limits.margin)
    observe("original", golden.text)
    observe("converted", found.text, limit=golden.text, passed=difference is None or not difference.matters)
    if not golden.new_ids or not golden.text.strip():
        pytest.skip("the source itself answers nothing to the golden prompt: nothing to compare")
    if difference is not None and difference.matters:
        where = f"{golden.prompt!r}, token {difference.at}"
        observe.finding(where, found.text, golden.text, "another answer than the source's")
        pytest.fail(
            "Golden Rule FAIL: output differs after conversion."
            f" Original: {golden.text[:80]!r} Converted: {found.text[:80]!r}",
            pytrace=False,
        )


@pytest.mark.gate("F-LAYOUT-CONTRACT-005", severity="P0")
@pytest.mark.depth("text")
def test_output_is_free_of_padding(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    reference: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """At most half of the generated tokens are padding or unused entries, unless the source does the same."""
    from pytest_aprqa.suite.padding import MOST_PADDING, padding_share
    from pytest_aprqa.suite.parity import answers_of

    expected, found, _ = answers_of(engine, playbook, run_state)
    shares = [
        padding_share(declared_artifact, [i for one in answers for i in one.new_ids or []])
        for answers in (expected.answers, found)
    ]
    generated = sum(len(one.new_ids or []) for one in found)
    flooded = shares[1] > MOST_PADDING >= shares[0]
    observe("tokens_generated", generated, limit=">= 1")
    observe("padding_share", shares[1], limit=MOST_PADDING, passed=not flooded)
    observe.advise("the output head is transposed or belongs to another vocabulary: look at F-LAYOUT-CONTRACT-002")
    if not generated:
        pytest.skip("blocked: no token was generated or the engine tells no ids, see I-1")
    if flooded:
        observe.finding("generated tokens", f"{shares[1]:.0%} padding", f"{MOST_PADDING:.0%}", "flood of padding")
    assert not flooded, f"{shares[1]:.0%} of {generated} generated tokens are padding, limit {MOST_PADDING:.0%}"


def _distance(
    engine: LoadedEngine, playbook: Playbook, run_state: RunState, observe: Observe
) -> tuple[list[list[int]], LogitDistance]:
    """(sequences, distance); skipped where the engine tells no logits."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.parity import distance_of
    from pytest_aprqa.suite.untried import skip_without

    try:
        reference, distance = distance_of(engine, playbook, run_state)
    except EngineUnavailable as error:
        skip_without(str(error), engine.model)
    observe("tokens_compared", distance.tokens, limit=">= 1", passed=distance.tokens > 0)
    assert distance.tokens + distance.not_finite, "no position was compared"
    return reference.sequences, distance


def _name_layer(engine: LoadedEngine, ids: list[int], run_state: RunState, observe: Observe) -> str:
    """`; first divergent layer N ...`, where it can be said."""
    from pytest_aprqa.suite.parity import first_divergent_layer

    found: Any = first_divergent_layer(engine, engine.model, ids, run_state.pool.threads)
    if found is None:
        return ""
    layer, error = found
    name = "the embedding" if layer == 0 else f"layer {layer - 1}"
    observe.finding(name, f"NMSE {error:.3g} of hidden states", None, "the first layer that diverges")
    return f"; first divergence after {name}"
