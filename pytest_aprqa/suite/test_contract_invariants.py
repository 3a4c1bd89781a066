"""Contract invariants I-1 to I-5: a conversion is its source up to the declared precision, in every respect."""

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

ROUND_TRIP_TEXTS = (
    "Hello",
    "What is 2+2?",
    "def add(a, b):\n    return a + b\n",
    "  two  spaces, tab\tand newline\n\n",
    "Grüße, 你好, مرحبا, 🙂🙃",
    "1234567890 3.14e-10",
    "<|im_start|>user\nHi<|im_end|>\n",
)
HEAD = "lm_head.weight"


@pytest.mark.invariant("I-1")
@pytest.mark.gate("F-CONTRACT-I1-001", severity="P0")
def test_round_trip_identity(
    engine: LoadedEngine, reference: OpenArtifact, playbook: Playbook, run_state: RunState, observe: Observe
) -> None:
    """Greedy token ids of the artifact equal those of the SafeTensors reference (float32, one prompt at a time)."""
    from pytest_aprqa.reference_answers import ask, reference_answers

    expected = reference_answers(run_state, engine.model, playbook)
    found = ask(engine, playbook)
    observe.advise("run the numbers: the first diverging tensor is named by I-4, a wrong declaration by G0")
    observe("prompts_compared", len(expected), limit=">= 1")
    compared = sum(len(ids) for ids in expected.values())
    observe("tokens_compared", compared, limit=">= 1")
    assert compared > 0, f"the reference {reference.file.path.name} generated no token: nothing was compared"
    problems = []
    for prompt, ids in expected.items():
        if found[prompt] != ids:
            at = next((i for i, (a, b) in enumerate(zip(ids, found[prompt], strict=False)) if a != b), None)
            at = min(len(ids), len(found[prompt])) if at is None else at
            problems.append(f"{prompt!r}: token {at}: reference {ids[at : at + 3]}, found {found[prompt][at : at + 3]}")
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(expected)} prompts differ from the reference: {listed(problems)}"


@pytest.mark.invariant("I-2")
@pytest.mark.gate("F-CONTRACT-I2-001", severity="P0")
def test_tensor_names_are_in_bijection(
    declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe
) -> None:
    """Every source tensor is in the artifact and nothing else is; a head may be added only if it is tied."""
    artifact = declared_artifact
    source, target = set(reference.tensors.names()), set(artifact.tensors.names())
    missing = sorted(source - target)
    extra = sorted(target - source - ({HEAD} if artifact.config.tied_embeddings else set()))
    if HEAD in missing and artifact.config.tied_embeddings and reference.config.tied_embeddings:
        missing.remove(HEAD)
    observe("source_tensors", len(source), limit=">= 1")
    observe("missing", len(missing), limit=0, passed=not missing)
    observe("unexpected", len(extra), limit=0, passed=not extra)
    assert source, "no tensor names in the source: nothing was compared"
    assert not missing, f"I-2 Tensor Name Bijection: {len(missing)} source tensors missing: {listed(missing, 5)}"
    assert not extra, f"I-2 Tensor Name Bijection: {len(extra)} unexpected extra tensors: {listed(extra, 5)}"


@pytest.mark.invariant("I-3")
@pytest.mark.gate("F-CONTRACT-I3-001", severity="P0")
def test_no_silent_type_fallback(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Weights have the source's type or a type that the playbook names; norms and biases may be widened to F32."""
    artifact = declared_artifact
    allowed = {q.upper() for q in playbook.model.quantizations}
    histogram: dict[str, int] = {}
    problems = []
    common = [n for n in artifact.tensors.names() if n in set(reference.tensors.names())]
    for name in common:
        found, source = artifact.tensors.entry(name), reference.tensors.entry(name)
        histogram[found.dtype] = histogram.get(found.dtype, 0) + 1
        vector_widened = len(found.shape) < 2 and found.dtype == "F32"
        if found.dtype != source.dtype and not vector_widened and not _named(found.dtype, allowed):
            problems.append(f"{name}: {source.dtype} in the source, {found.dtype} in the artifact")
    for dtype, count in sorted(histogram.items()):
        observe(f"tensors_{dtype}", count)
    observe("fallbacks", len(problems), limit=0, passed=not problems)
    assert common, "no tensor in common with the source: nothing was compared"
    assert not problems, f"I-3 No Silent Fallbacks: {listed(problems)}; the playbook allows {sorted(allowed)}"


@pytest.mark.invariant("I-4")
@pytest.mark.gate("F-CONTRACT-I4-001", severity="P0")
def test_values_are_preserved(declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe) -> None:
    """Per tensor, the normalised mean squared error against the source is within the limit of the stored type."""
    from pytest_aprqa.numerics.limits import limit_for
    from pytest_aprqa.numerics.tensor_error import compare_tensors

    artifact = declared_artifact
    worst, problems, compared = ("", 0.0, 0.0), [], 0
    for name in reference.tensors.names():
        if name not in set(artifact.tensors.names()):
            continue
        compared += 1
        limit = limit_for(artifact.tensors.entry(name).dtype, reference.tensors.entry(name).dtype)
        error = compare_tensors(reference.tensors, artifact.tensors, name)
        if error.cause is not None:
            problems.append(f"{name}: {error.cause}")
        elif not error.nmse <= limit:
            problems.append(f"{name}: NMSE {error.nmse:.2e}, limit {limit:.2e} ({error.likely_cause()})")
        if not error.nmse <= worst[1]:
            worst = (name, error.nmse, limit)
    observe.advise("the named tensor is not the source's: convert it again; the cause in brackets is a hint")
    observe("tensors_compared", compared, limit=">= 1")
    observe("largest_nmse", worst[1], limit=worst[2], passed=not problems)
    assert compared, "no tensor in common with the source: nothing was compared"
    assert not problems, f"I-4 Statistical Preservation: {len(problems)} tensors differ: {listed(problems)}"


@pytest.mark.invariant("I-5")
@pytest.mark.gate("F-CONTRACT-I5-001", severity="P0")
def test_tokenizer_round_trip(
    artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The declared tokenizer gives the source's ids, its stop tokens and template, and decodes what it encoded."""
    mine, source = artifact.tokenizer, reference.tokenizer
    problems = []
    if artifact.file.format == "gguf" and not mine.types_declared:
        problems.append("the token types are lost: engines take special tokens for ordinary text")
    texts = [*ROUND_TRIP_TEXTS, *playbook.matrix.prompts]
    tokens = 0
    for text in texts:
        expected, found = source.encode(text), mine.encode(text)
        tokens += len(expected)
        if expected != found:
            problems.append(f"{text[:30]!r}: ids {expected[:6]} in the source, {found[:6]} in the artifact")
        elif (decoded := mine.decode(found, skip_special=False)) != source.decode(expected, skip_special=False):
            problems.append(f"{text[:30]!r}: decodes to {decoded[:30]!r}")
    if mine.end_ids != source.end_ids:
        problems.append(f"stop tokens {sorted(source.end_ids)} in the source, {sorted(mine.end_ids)} in the artifact")
    if (mine.chat_template or "") != (source.chat_template or ""):
        problems.append("the chat template is not the source's" if mine.chat_template else "the chat template is lost")
    observe.advise("the tokenizer was changed on the way: pre-tokenizer name, token types, merges or template")
    observe("texts_compared", len(texts), limit=">= 1")
    observe("tokens_compared", tokens, limit=">= 1", passed=tokens > 0)
    observe("texts_that_differ", len(problems), limit=0, passed=not problems)
    assert tokens > 0, "no token was compared"
    assert not problems, f"I-5 Tokenizer Roundtrip: {listed(problems)}"


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-SOURCE", severity="P0")
def test_declaration_is_the_sources(declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe) -> None:
    """Rotary base and style, epsilon, head counts and the other declared numbers are those of the source."""
    import dataclasses
    import math

    artifact = declared_artifact
    from pytest_aprqa.models.families import same_architecture

    mine, source = dataclasses.asdict(artifact.config), dataclasses.asdict(reference.config)
    problems = []
    for field, expected in source.items():
        found = mine[field]
        same = math.isclose(found, expected, rel_tol=1e-6) if isinstance(expected, float) else found == expected
        if field == "architecture":
            same = same_architecture(found, expected, artifact.file.format)
        observe(field, found, limit=expected, passed=same)
        if not same:
            problems.append(f"{field} is {expected!r} in the source, {found!r} in the artifact")
    observe.advise("the conversion wrote another declaration than config.json has: the engine will compute otherwise")
    assert not problems, f"{artifact.file.path.name}: {listed(problems)}"


def _named(dtype: str, allowed: set[str]) -> bool:
    """True when a quantisation label of the playbook (`Q4_K_M`) covers a stored type (`Q4_K`)."""
    return any(label == dtype or label.startswith(f"{dtype}_") for label in allowed)
