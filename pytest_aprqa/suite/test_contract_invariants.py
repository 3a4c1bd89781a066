"""Contract invariants I-2 to I-5: a conversion is its source up to the declared precision, in every respect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration
    from pytest_aprqa.playbooks.playbook import Playbook

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


@pytest.mark.invariant("I-2")
@pytest.mark.gate("F-CONTRACT-I2-001", severity="P0")
@pytest.mark.depth("structure")
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

    artifact = declared_artifact
    allowed = {q.upper() for q in playbook.model.quantizations}
    source = {name: reference.tensors.entry(name) for name in reference.tensors.names()}
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
def test_values_are_preserved(declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe) -> None:
    """Per tensor and per row, the error against the source is within the limit of the stored type."""
    from pytest_aprqa.numerics.limits import limit_for

    artifact = declared_artifact
    worst, problems, compared = ("", 0.0, 0.0), [], 0
    present = set(artifact.tensors.names())
    for name in reference.tensors.names():
        if name not in present:
            continue
        compared += 1
        limit = limit_for(artifact.tensors.entry(name).dtype, reference.tensors.entry(name).dtype)
        nmse, problem = _value_problem(reference, artifact, name, limit)
        if problem is not None:
            problems.append(f"{problem[0]}: {problem[1]}, limit {problem[2]} ({problem[3]})")
            observe.finding(*problem)
        if not nmse <= worst[1]:
            worst = (name, nmse, limit)
    observe.advise("the named tensor is not the source's: convert it again; the cause in brackets is a hint")
    observe("tensors_compared", compared, limit=">= 1")
    observe("largest_nmse", worst[1], limit=worst[2], passed=not problems)
    assert compared, "no tensor in common with the source: nothing was compared"
    assert not problems, f"I-4 Statistical Preservation: {len(problems)} tensors differ: {listed(problems)}"


def _value_problem(
    reference: OpenArtifact, artifact: OpenArtifact, name: str, limit: float
) -> tuple[float, tuple[str, str, str, str] | None]:
    """(NMSE, None or where, found, limit, cause) of one tensor: first the bytes, then rows, then what explains it."""
    from pytest_aprqa.numerics.tensor_error import compare_tensors
    from pytest_aprqa.suite.row_errors import matrix_error, same_bytes

    source, target = reference.tensors, artifact.tensors
    if same_bytes(source, target, name):
        return 0.0, None
    shape = source.entry(name).shape
    if len(shape) == 2 and 0 not in shape and shape == target.entry(name).shape:
        rows = matrix_error(source, target, name, limit, target.entry(name).dtype)
        if rows.nmse <= limit and not rows.damaged:
            return rows.nmse, None
        if rows.nmse <= limit:
            first = rows.damaged[0]
            part = f"part of the values changed: {len(rows.damaged)} rows; {first.cause}"
            where = f"{name}: row {first.row}"
            return rows.nmse, (where, f"NMSE {first.nmse:.3g}", f"NMSE {first.limit:.3g} a row", part)
    error = compare_tensors(source, target, name)
    if error.cause is not None:
        return error.nmse, (name, error.cause, "the source's shape", "another shape than the source's")
    if error.nmse <= limit:
        return error.nmse, None
    return error.nmse, (name, f"NMSE {error.nmse:.3g}", f"NMSE {limit:.3g}", error.likely_cause())


@pytest.mark.invariant("I-5")
@pytest.mark.gate("F-CONTRACT-I5-001", severity="P0")
@pytest.mark.depth("tokens")
def test_tokenizer_round_trip(
    artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The declared tokenizer gives the source's ids, its stop tokens and template, and decodes what it encoded."""
    from pytest_aprqa.models.errors import ModelError

    try:
        source = reference.tokenizer
    except ModelError as error:
        pytest.skip(f"blocked: the source's tokenizer cannot be read: {error}")
    mine = artifact.tokenizer
    texts = [*ROUND_TRIP_TEXTS, *playbook.matrix.prompts]
    problems = _declaration_findings(artifact, mine, source)
    tokens = 0
    for text in texts:
        expected, found = source.encode(text), mine.encode(text)
        tokens += len(expected)
        if expected != found:
            problems.append((repr(text[:30]), f"ids {found[:6]}", f"ids {expected[:6]}", "another tokenization"))
        elif (decoded := mine.decode(found, skip_special=False)) != source.decode(expected, skip_special=False):
            problems.append((repr(text[:30]), f"decodes to {decoded[:30]!r}", repr(text[:30]), "another decoder"))
    for problem in problems:
        observe.finding(*problem)
    observe.advise("the tokenizer was changed on the way: pre-tokenizer name, token types, merges or template")
    observe("texts_compared", len(texts), limit=">= 1")
    observe("tokens_compared", tokens, limit=">= 1", passed=tokens > 0)
    observe("texts_that_differ", len(problems), limit=0, passed=not problems)
    assert tokens > 0, "no token was compared"
    told = [f"{where}: {found}, {limit} in the source ({cause})" for where, found, limit, cause in problems]
    assert not problems, f"I-5 Tokenizer Roundtrip: {listed(told)}"


def _declaration_findings(
    artifact: OpenArtifact, mine: TokenizerDeclaration, source: TokenizerDeclaration
) -> list[tuple[str, str, str, str]]:
    """(where, found, expected, cause) for what the two tokenizers declare besides their tokens."""
    problems = []
    if artifact.file.format == "gguf" and not mine.types_declared:
        cause = "the token types are lost: engines take special tokens for ordinary text"
        problems.append(("token types", "none", "declared", cause))
    if mine.end_ids != source.end_ids:
        problems.append(("stop tokens", str(sorted(mine.end_ids)), str(sorted(source.end_ids)), "other stop tokens"))
    if (mine.chat_template or "") != (source.chat_template or ""):
        cause = "the chat template is not the source's" if mine.chat_template else "the chat template is lost"
        found = f"{len(mine.chat_template or '')} characters"
        problems.append(("chat template", found, f"{len(source.chat_template or '')} characters", cause))
    return problems
