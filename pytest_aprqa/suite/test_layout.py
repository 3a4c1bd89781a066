"""LAYOUT-002: weights are row-major [out, in] in canonical form; the output head is [vocabulary, hidden]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

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
