"""Semantic part of the layout contract: values that are zero, constant or dead where a model's are not.

What the source itself has is its own affair: only where it has not, the artifact is to blame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.formats.errors import UndecodableType
from pytest_aprqa.suite.findings import listed
from pytest_aprqa.suite.tensor_values import ENDS
from pytest_aprqa.suite.untried import skip_untried

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.suite.tensor_values import RowNorms, ValueCounts

# Limits of the tensor layout contract (LAYOUT-002, validation rules of its semantic part).
MOST_ZEROS = {"embedding": 0.5, "weight": 0.8}
TERNARY = ("TQ1_0", "TQ2_0")  # -1, 0 and 1 times a scale: of a clean file 86 % are zeros
SMALLEST_NORM = 1e-6
SAMPLED_ROWS = (0.1, 0.5, 0.9)  # of the vocabulary
MOST_DEAD_ROWS = 0.25

Problem = tuple[str, str, str, str]  # where, found, limit, cause


@pytest.mark.gate("F-DATA-QUALITY-001", severity="P1")
@pytest.mark.depth("weights")
def test_weights_are_not_mostly_zero(declared_artifact: OpenArtifact, model: ModelUnderTest, observe: Observe) -> None:
    """At most half of an embedding's values and 80 % of another matrix's are zero; ternary types are exempt."""

    def problem(name: str, dtype: str, counts: ValueCounts) -> Problem | None:
        limit = 1.0 if dtype in TERNARY else MOST_ZEROS["embedding" if name in ENDS else "weight"]
        if counts.zero_share <= limit:
            return None
        return (name, f"{counts.zero_share:.1%} zeros", f"{limit:.0%} zeros", "values were lost: mostly zero")

    _judge(declared_artifact, model, observe, problem)


@pytest.mark.gate("F-DATA-QUALITY-003", severity="P1")
@pytest.mark.depth("weights")
def test_weights_are_neither_constant_nor_vanishing(
    declared_artifact: OpenArtifact, model: ModelUnderTest, observe: Observe
) -> None:
    """Every matrix has an L2 norm above 1e-6 and values that differ."""

    def problem(name: str, dtype: str, counts: ValueCounts) -> Problem | None:
        norm = math.sqrt(counts.squares)
        if norm <= SMALLEST_NORM:
            return (name, f"L2 norm {norm:.3g}", f"> {SMALLEST_NORM:g}", "the values vanish")
        if counts.total > 1 and counts.minimum == counts.maximum:
            return (name, f"all values {counts.minimum:.4g}", "values that differ", "the values are constant")
        return None

    _judge(declared_artifact, model, observe, problem)


@pytest.mark.gate("F-DATA-QUALITY-004", severity="P1")
@pytest.mark.depth("weights")
def test_rows_across_the_vocabulary_are_alive(
    declared_artifact: OpenArtifact, model: ModelUnderTest, observe: Observe
) -> None:
    """Embedding rows at 10, 50 and 90 % of the vocabulary have an L2 norm above 1e-6."""

    def problems(name: str, norms: RowNorms) -> list[Problem]:
        dead = {row: norm for row, norm in norms.sampled.items() if not norm > SMALLEST_NORM}
        limit = f"> {SMALLEST_NORM:g}"
        return [(f"{name} row {row}", f"L2 norm {norm:.3g}", limit, "the row is dead") for row, norm in dead.items()]

    _judge_rows(declared_artifact, model, observe, problems)


@pytest.mark.gate("F-DATA-QUALITY-005", severity="P1")
@pytest.mark.depth("weights")
def test_few_rows_are_dead(declared_artifact: OpenArtifact, model: ModelUnderTest, observe: Observe) -> None:
    """Less than a quarter of the rows of the embedding and of the head are zero."""

    def problems(name: str, norms: RowNorms) -> list[Problem]:
        share = norms.dead / norms.rows
        if share < MOST_DEAD_ROWS:
            return []
        return [(name, f"{share:.1%} of the rows are dead", f"< {MOST_DEAD_ROWS:.0%}", "rows were lost: dead rows")]

    _judge_rows(declared_artifact, model, observe, problems)


def _judge(
    artifact: OpenArtifact,
    model: ModelUnderTest,
    observe: Observe,
    problem: Callable[[str, str, ValueCounts], Problem | None],
) -> None:
    """Ask for every matrix; what is no better in the source is not counted."""
    source = _source(artifact, model)
    looked, problems = 0, []
    untried: dict[str, str] = {}
    for name in artifact.tensors.names():
        if len(artifact.tensors.entry(name).shape) < 2:
            continue
        try:
            found = _first_problem(artifact, name, problem)
            if found and source is not None and name in source.tensors.names():
                found = None if _first_problem(source, name, problem) else found
        except UndecodableType as error:
            untried[name] = error.problem
            continue
        looked += 1
        if found is not None:
            problems.append(found)
    _conclude(artifact, observe, looked, problems, "matrices_read", untried)


def _first_problem(
    artifact: OpenArtifact, name: str, problem: Callable[[str, str, ValueCounts], Problem | None]
) -> Problem | None:
    """The problem of the first part that has one; a tensor is stored in parts by few families only."""
    from pytest_aprqa.suite.tensor_values import values_of

    file = artifact.file
    parts = artifact.tensors.source_names(name)
    found = (problem(name, file.entries[own].dtype, values_of(file, own)) for own in parts)
    return next((one for one in found if one is not None), None)


def _judge_rows(
    artifact: OpenArtifact,
    model: ModelUnderTest,
    observe: Observe,
    problems_of: Callable[[str, RowNorms], list[Problem]],
) -> None:
    """Ask for embedding and head; what the source has too is not counted."""
    source = _source(artifact, model)
    looked, problems = 0, []
    untried: dict[str, str] = {}
    for name in ENDS:
        if name not in artifact.tensors.names() or len(artifact.tensors.entry(name).shape) != 2:
            continue
        try:
            norms = _norms(artifact, name)
            found = problems_of(name, norms)
            if found and source is not None and name in source.tensors.names():
                found = [] if problems_of(name, _norms(source, name)) else found
        except UndecodableType as error:
            untried[name] = error.problem
            continue
        looked += norms.rows
        problems += found
    if not looked and not untried:
        pytest.skip("no embedding under its name, see G0-TENSOR-001")
    _conclude(artifact, observe, looked, problems, "rows_read", untried)


def _norms(artifact: OpenArtifact, name: str) -> RowNorms:
    from pytest_aprqa.suite.tensor_values import norms_of, row_norms

    return row_norms(norms_of(artifact.tensors, name), SAMPLED_ROWS, SMALLEST_NORM)


def _source(artifact: OpenArtifact, model: ModelUnderTest) -> OpenArtifact | None:
    """The ground truth, if it is another file and can be read."""
    try:
        source = model.opened_source()
        _ = (source.config, source.tensors)
    except (OSError, ValueError, RuntimeError):
        return None
    return None if source.file.path == artifact.file.path else source


def _conclude(
    artifact: OpenArtifact, observe: Observe, looked: int, problems: list[Problem], what: str, untried: dict[str, str]
) -> None:
    observe(what, looked, limit=">= 1", passed=looked > 0)
    observe("damaged", len(problems), limit=0, passed=not problems)
    for problem in problems:
        observe.finding(*problem)
    observe.advise("values of the named tensor were lost: fetch or convert the file again")
    assert looked or untried, f"{artifact.file.path.name}: no matrix in the file: nothing was looked at"
    told = [f"{where}: {found}, limit {limit} ({cause})" for where, found, limit, cause in problems]
    assert not told, f"{artifact.file.path.name}: {listed(told)}"
    if untried:
        skip_untried(untried)
