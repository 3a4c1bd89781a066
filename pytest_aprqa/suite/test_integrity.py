"""G0 integrity: the declaration fits the tensors, the playbook and the source; each contradiction has its own gate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.gguf_engine_keys import KeyProblem
    from pytest_aprqa.playbooks.playbook import Playbook


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-CONFIG", severity="P0")
@pytest.mark.depth("structure")
def test_configuration_matches_tensors(artifact: OpenArtifact, observe: Observe) -> None:
    """Layer count, hidden size, vocabulary, head counts are those of the tensors; the keys are such as engines take."""
    from pytest_aprqa.models.families import integrity_problems

    observe.advise("config.json or the file's metadata belongs to another model, or tensors were lost or added")
    refused = _refused_keys(artifact)
    observe("keys_refused", len(refused), limit=0, passed=not refused)
    for one in refused:
        observe.finding(one.key, one.found, one.limit, one.cause)
    contradictions = (
        [] if refused and not _is_read(artifact) else integrity_problems(artifact.config, _shapes(artifact))
    )
    observe("contradictions", len(contradictions), limit=0, passed=not contradictions)
    for problem in contradictions:
        rule, _, text = problem.partition(": ")
        observe.finding(rule, text, None, "the declaration contradicts the tensors")
    problems = [*map(str, refused), *contradictions]
    assert not problems, f"{artifact.file.path.name}: {listed(problems)}"


def _refused_keys(artifact: OpenArtifact) -> list[KeyProblem]:
    """Keys of a GGUF file for which llama.cpp refuses it."""
    from pytest_aprqa.formats.gguf_file import GgufFile
    from pytest_aprqa.models.gguf_engine_keys import key_problems

    file = artifact.file
    return list(key_problems(file.metadata, file.value_types)) if isinstance(file, GgufFile) else []


def _is_read(artifact: OpenArtifact) -> bool:
    """Whether the declaration can be read at all: a key of another type may be no number."""
    try:
        _ = artifact.config
    except ValueError:
        return False
    return True


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-EXPECTED", severity="P0")
def test_configuration_is_the_expected_one(
    declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Dimensions are those that the playbook expects of this model, and so many parameters as its size says."""
    artifact = declared_artifact
    expected = playbook.model.expected
    if not expected and not playbook.model.states_size:
        pytest.skip("the playbook expects no dimensions (model.expected_*) and states no size (model.size_category)")
    found = {
        "hidden_dim": artifact.config.hidden_size,
        "num_layers": artifact.config.num_layers,
        "num_heads": artifact.config.num_heads,
        "num_kv_heads": artifact.config.num_kv_heads,
        "vocab_size": artifact.config.vocab_size,
        "intermediate_dim": artifact.config.intermediate_size,
    }
    observe.advise(f"the file is not {playbook.model.hf_repo}, or the playbook names another size")
    problems = []
    for name, value in expected.items():
        observe(name, found[name], limit=value, passed=found[name] == value)
        if found[name] != value:
            problems.append(f"{name} mismatch: expected {value}, got {found[name]}")
    problems += _size_problems(artifact, playbook, observe)
    assert not problems, f"{artifact.file.path.name}: {listed(problems)}"


def _size_problems(artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> list[str]:
    """The parameters of the file, counted, against the size category that the playbook states."""
    from pytest_aprqa.models.families import HEAD
    from pytest_aprqa.playbooks.size_categories import COUNT_TOLERANCE, fits, range_text

    category = playbook.model.size_category
    if not playbook.model.states_size or category is None:
        return []
    tied = artifact.config.tied_embeddings
    count = sum(math.prod(shape) for name, shape in _shapes(artifact).items() if not (tied and name == HEAD))
    right = fits(category, count / 1e9, tolerance=COUNT_TOLERANCE)
    observe("parameters", count, limit=f"{category}: {range_text(category)}", passed=right)
    if right:
        return []
    return [f"size_category mismatch: {category} is {range_text(category)}, the file has {count:,} parameters"]


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-LAYERS", severity="P0")
@pytest.mark.depth("structure")
def test_declared_layers_fit(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The declared number of layers is that of the tensors, and every layer has the same ones."""
    _judge_rule("G0-INTEGRITY-LAYERS", declared_artifact, observe)


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-HIDDEN", severity="P0")
@pytest.mark.depth("structure")
def test_declared_hidden_size_fits(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The declared hidden size is the width of the embedding."""
    _judge_rule("G0-INTEGRITY-HIDDEN", declared_artifact, observe)


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-VOCAB", severity="P0")
@pytest.mark.depth("structure")
def test_declared_vocabulary_fits(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The declared vocabulary is the number of rows of the embedding."""
    _judge_rule("G0-INTEGRITY-VOCAB", declared_artifact, observe)


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-HEADS", severity="P0")
@pytest.mark.depth("structure")
def test_declared_heads_fit(declared_artifact: OpenArtifact, observe: Observe) -> None:
    """The declared head counts give the rows of the query and key projections."""
    _judge_rule("G0-INTEGRITY-HEADS", declared_artifact, observe)


@pytest.mark.gateway("G0")
@pytest.mark.gate("G0-INTEGRITY-SOURCE", severity="P0")
@pytest.mark.depth("structure")
def test_declaration_is_the_sources(declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe) -> None:
    """Declared numbers, sampling, ends of answers and the claims of the model card are those of the source."""
    from pytest_aprqa.suite.card_claims import card_claims
    from pytest_aprqa.suite.generation_settings import generation_settings
    from pytest_aprqa.suite.other_declarations import other_declarations
    from pytest_aprqa.suite.same_model import declaration_differences

    problems = []
    rows = declaration_differences(reference, declared_artifact)
    for rule in (other_declarations, generation_settings, card_claims):
        rows |= rule(reference, declared_artifact)
    for field, (found, expected, same) in rows.items():
        observe(field, found, limit=expected, passed=same)
        if not same:
            problems.append(f"{field} is {expected!r} in the source, {found!r} in the artifact")
            observe.finding(field, found, expected, f"another {field} than the source declares")
    observe.advise("the conversion wrote another declaration than config.json has: the engine will compute otherwise")
    assert not problems, f"{declared_artifact.file.path.name}: {listed(problems)}"


def _shapes(artifact: OpenArtifact) -> dict[str, tuple[int, ...]]:
    return {name: artifact.tensors.entry(name).shape for name in artifact.tensors.names()}


def _judge_rule(rule: str, artifact: OpenArtifact, observe: Observe) -> None:
    """The contradictions of one rule; all of them together are in G0-INTEGRITY-CONFIG."""
    from pytest_aprqa.models.families import integrity_problems

    shapes = _shapes(artifact)
    problems = [p.partition(": ")[2] for p in integrity_problems(artifact.config, shapes) if p.startswith(rule)]
    observe("tensors", len(shapes), limit=">= 1", passed=bool(shapes))
    observe("contradictions", len(problems), limit=0, passed=not problems)
    for problem in problems:
        observe.finding(rule, problem, None, "the declaration contradicts the tensors")
    observe.advise("config.json or the file's metadata belongs to another model, or tensors were lost or added")
    assert shapes, f"{artifact.file.path.name}: no tensor: nothing was compared"
    assert not problems, f"{rule}: {listed(problems)}"
