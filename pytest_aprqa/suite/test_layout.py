"""LAYOUT-002: weights are row-major [out, in] in canonical form; the output head is [vocabulary, hidden]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CRITICAL = "F-LAYOUT-CONTRACT-002"  # the output head: transposed, every answer is garbage

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-LAYOUT-001", severity="P0")
@pytest.mark.depth("structure")
def test_tensor_layout(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """Shape of every tensor is the one that its role and the declared dimensions demand."""
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.models.families import expected_tensors, layout_problems

    artifact = declared_artifact

    observe.advise("a tensor is transposed or has another size: convert again, see LAYOUT-002 in the documentation")
    shapes = {name: artifact.tensors.entry(name).shape for name in artifact.tensors.names()}
    try:
        problems = layout_problems(artifact.config, shapes)
    except ModelError as error:
        pytest.skip(f"no layout contract: {error}")
    checked = len(set(shapes) & set(expected_tensors(artifact.config)))
    observe("tensors_checked", checked, limit=">= 1", passed=checked > 0)
    observe("layout_violations", len(problems), limit=0, passed=not problems)
    for problem in problems:
        transposed = "(transposed)" in problem.message
        cause = "transposed" if transposed else "another shape than its role demands"
        observe.finding(problem.tensor, problem.message, problem.rule, cause)
    assert checked > 0, f"{artifact.file.path.name}: no tensor could be compared with the layout contract"
    assert not problems, f"{artifact.file.path.name}: {listed([str(p) for p in problems])}"


@pytest.mark.gate("F-LAYOUT-CONTRACT-001", severity="P0")
@pytest.mark.depth("structure")
def test_matrices_have_the_shape_of_their_role(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """Every matrix is [out, in] as the declared dimensions demand."""
    _judge_rule("F-LAYOUT-CONTRACT-001", declared_artifact, observe)


@pytest.mark.gateway("G0")
@pytest.mark.gate("F-LAYOUT-CONTRACT-002", severity="P0")
@pytest.mark.depth("structure")
def test_output_head_is_vocabulary_by_hidden(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The output head (of a tied model the embedding) is [vocabulary, hidden]."""
    _judge_rule(CRITICAL, declared_artifact, observe)


@pytest.mark.gate("F-LAYOUT-CONTRACT-003", severity="P1")
@pytest.mark.depth("structure")
def test_vectors_have_the_length_of_their_role(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """Every norm and bias is as long as the dimension that it scales or shifts."""
    _judge_rule("F-LAYOUT-CONTRACT-003", declared_artifact, observe)


def _judge_rule(rule: str, artifact: OpenArtifact, observe: Observe) -> None:
    """The violations of one rule; all of them together are in G0-LAYOUT-001."""
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.models.families import expected_tensors, layout_problems

    shapes = {name: artifact.tensors.entry(name).shape for name in artifact.tensors.names()}
    try:
        expected = expected_tensors(artifact.config)
        problems = layout_problems(artifact.config, shapes)
    except ModelError as error:
        pytest.skip(f"no layout contract: {error}")
    ruled = [n for n in shapes if _rule_of(n, expected.get(n)) == rule]
    if rule == CRITICAL and not ruled and artifact.config.tied_embeddings:
        ruled = [EMBEDDING] if EMBEDDING in shapes else []  # the embedding is the head
    problems = [problem for problem in problems if problem.tensor in ruled]
    observe("tensors_checked", len(ruled), limit=">= 1")
    observe("layout_violations", len(problems), limit=0, passed=not problems)
    for problem in problems:
        cause = "transposed" if "(transposed)" in problem.message else "another shape than its role demands"
        observe.finding(problem.tensor, problem.message, rule, cause)
    observe.advise("a tensor is transposed or has another size: convert again, see LAYOUT-002 in the documentation")
    if not ruled and not problems:
        pytest.skip(f"no tensor in the file that {rule} is about")
    assert not problems, f"{artifact.file.path.name}: {listed([str(p) for p in problems])}"


def _rule_of(name: str, shape: tuple[int, ...] | None) -> str | None:
    if name == HEAD:
        return CRITICAL
    if shape is None:
        return None
    return "F-LAYOUT-CONTRACT-001" if len(shape) == 2 else "F-LAYOUT-CONTRACT-003"
