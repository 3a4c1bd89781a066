"""Contract invariants I-2 to I-5: a conversion is its source up to the declared precision, in every respect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


@pytest.mark.invariant("I-2")
@pytest.mark.gate("F-CONTRACT-I2-001", severity="P0")
@pytest.mark.depth("structure")
def test_tensor_names_are_in_bijection(
    declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe
) -> None:
    """Every source tensor is in the artifact and nothing else is; a head may be added only if it is tied."""
    from pytest_aprqa.suite.tied_head import is_stored_copy

    artifact = declared_artifact
    source, target = set(reference.tensors.names()), set(artifact.tensors.names())
    missing = sorted(source - target)
    tied = artifact.config.tied_embeddings or is_stored_copy(reference, artifact)
    extra = sorted(target - source - ({HEAD} if tied else set()))
    if HEAD in missing and artifact.config.tied_embeddings and reference.config.tied_embeddings:
        missing.remove(HEAD)
    observe("source_tensors", len(source), limit=">= 1")
    observe("missing", len(missing), limit=0, passed=not missing)
    observe("unexpected", len(extra), limit=0, passed=not extra)
    for name in missing:
        observe.finding(name, "missing", "in the source", "the tensor was lost or renamed")
    for name in extra:
        observe.finding(name, "present", "not in the source", "the tensor was added or renamed")
    observe.advise("a tensor was lost, renamed or added on the way: convert the model again")
    assert source, "no tensor names in the source: nothing was compared"
    assert not missing, f"I-2 Tensor Name Bijection: {len(missing)} source tensors missing: {listed(missing, 5)}"
    assert not extra, f"I-2 Tensor Name Bijection: {len(extra)} unexpected extra tensors: {listed(extra, 5)}"


@pytest.mark.invariant("I-3")
@pytest.mark.gate("F-CONTRACT-I3-001", severity="P0")
@pytest.mark.depth("structure")
def test_no_silent_type_fallback(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Tensors have the type that the file declares and the playbook names; vectors may be widened to F32."""
    from pytest_aprqa.suite.stored_types import type_problems
    from pytest_aprqa.suite.tied_head import with_head

    artifact = declared_artifact
    allowed = {q.upper() for q in playbook.model.quantizations}
    tensors = with_head(reference, artifact).tensors
    source = {name: tensors.entry(name) for name in tensors.names()}
    label, problems = type_problems(artifact, source, allowed)
    histogram: dict[str, int] = {}
    common = [n for n in artifact.tensors.names() if n in source]
    for name in common:
        dtype = artifact.tensors.entry(name).dtype
        histogram[dtype] = histogram.get(dtype, 0) + 1
    observe("judged_as", label)
    for dtype, count in sorted(histogram.items()):
        observe(f"tensors_{dtype}", count)
    observe("fallbacks", len(problems), limit=0, passed=not problems)
    for problem in problems:
        observe.finding(problem.where, problem.found, problem.limit, problem.cause)
    observe.advise("the converter changed the type without being asked: convert again with one stated type")
    assert common, "no tensor in common with the source: nothing was compared"
    told = [str(p) for p in problems]
    assert not problems, f"I-3 No Silent Fallbacks: {listed(told)}; judged as {label}, allowed {sorted(allowed)}"


@pytest.mark.invariant("I-4")
@pytest.mark.gate("F-CONTRACT-I4-001", severity="P0")
@pytest.mark.depth("weights")
def test_values_are_preserved(
    declared_artifact: OpenArtifact, reference: OpenArtifact, model: ModelUnderTest, observe: Observe
) -> None:
    """Per tensor and row, the error against the source is within the limit of the stored type; no head is scaled."""
    from pytest_aprqa.suite.judged_weights import judged_weights
    from pytest_aprqa.suite.untried import skip_untried

    artifact = declared_artifact
    untried: dict[str, str] = {}
    worst, problems, compared = ("", 0.0, 0.0), [], 0
    for name, found in judged_weights(reference, artifact, model.tell).items():
        if isinstance(found, Exception):
            raise found
        if isinstance(found, str):
            untried[name] = found
            continue
        limit, nmse, problem = found
        compared += 1
        observe(f"nmse[{name}]", nmse, limit=limit, passed=problem is None)
        if problem is not None:
            problems.append(f"{problem[0]}: {problem[1]}, limit {problem[2]} ({problem[3]})")
            observe.finding(*problem)
        if not nmse <= worst[1]:
            worst = (name, nmse, limit)
    observe.advise("the named tensor is not the source's: convert it again; the cause in brackets is a hint")
    observe("tensors_compared", compared, limit=">= 1")
    observe("largest_nmse", worst[1], limit=worst[2], passed=not problems)
    assert compared or untried, "no tensor in common with the source: nothing was compared"
    assert not problems, f"I-4 Statistical Preservation: {len(problems)} tensors differ: {listed(problems)}"
    if untried:
        skip_untried(untried)


@pytest.mark.invariant("I-5")
@pytest.mark.gate("F-CONTRACT-I5-001", severity="P0")
@pytest.mark.depth("tokens")
def test_tokenizer_round_trip(
    artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, model: ModelUnderTest, observe: Observe
) -> None:
    """The declared tokenizer gives the source's ids over a battery of texts, its stop tokens, template and bytes."""
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.models.token_battery import BATTERY, KINDS, compare_tokenizers
    from pytest_aprqa.models.token_causes import DROPOUT, MATCHING
    from pytest_aprqa.suite.declared_tokens import special_token_problems
    from pytest_aprqa.suite.untried import skip_without

    try:
        source = reference.tokenizer
        _ = source.built
    except ModelError as error:
        skip_without(f"blocked: the source's tokenizer cannot be read: {error}", model)
    texts = [*BATTERY, *playbook.matrix.prompts]
    # Engines refuse a GGUF file whose vocabulary is shorter than its embedding; the other formats may be so.
    is_gguf = artifact.format == "gguf"
    rows = artifact.tensors.entry(EMBEDDING).shape[0] if is_gguf and EMBEDDING in artifact.tensors.names() else None
    result = compare_tokenizers(source, artifact.tokenizer, texts, rows=rows, types_required=is_gguf)
    declared = special_token_problems(reference, artifact)
    # What explains the texts that differ comes before them.
    explains = [one for one in declared if one.cause in (DROPOUT, MATCHING)]
    result.problems = [*explains, *result.problems, *(one for one in declared if one not in explains)]
    for problem in result.problems:
        observe.finding(problem.where, problem.found, problem.expected, problem.cause)
    for note in result.notes:
        observe("note", str(note))
    observe.advise("the tokenizer was changed on the way: pre-tokenizer, token types, merges, BOS id or template")
    observe("texts_compared", result.texts, limit=">= 1")
    observe("tokens_compared", result.tokens, limit=">= 1", passed=result.tokens > 0)
    observe("texts_that_differ", len(result.problems), limit=0, passed=not result.problems)
    for kind, members in (KINDS | {"prompts": tuple(playbook.matrix.prompts)}).items():
        alike = sum(text in result.alike for text in members)
        observe(f"texts_alike[{kind}]", alike, limit=len(members), passed=alike == len(members))
    told = [f"{one.where}: {one.found}, {one.expected} in the source ({one.cause})" for one in result.problems]
    assert not told, f"I-5 Tokenizer Roundtrip: {listed(told)}"
