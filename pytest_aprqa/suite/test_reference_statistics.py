"""`differential_tests.validate_stats`: mean and spread of every class of tensors against a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.suite.tensor_fingerprints import Fingerprint

BLOCK = "differential_tests.validate_stats"
# Absolute, of mean and standard deviation; gates.md section 9. The playbook may name the first three.
TOLERANCES = {"layernorm": 0.001, "embedding": 0.1, "attention": 0.01, "ffn": 0.01, "lm_head": 0.05, "other": 0.01}
GAIN_DISTANCE = 0.5  # of the mean of a norm's gains from 1, where the reference has no more


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-001", severity="P0")
@pytest.mark.depth("weights")
def test_statistics_of_norms_are_the_references(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Mean and spread of every norm are the reference's within the tolerance of norms."""
    _judge(_pairs(declared_artifact, reference, playbook), playbook, observe, "layernorm")


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-002", severity="P1")
@pytest.mark.depth("weights")
def test_statistics_of_embeddings_are_the_references(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Mean and spread of the embedding are the reference's within the tolerance of embeddings."""
    _judge(_pairs(declared_artifact, reference, playbook), playbook, observe, "embedding")


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-003", severity="P1")
@pytest.mark.depth("weights")
def test_statistics_of_attention_are_the_references(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Mean and spread of every attention weight are the reference's within the tolerance of attention."""
    _judge(_pairs(declared_artifact, reference, playbook), playbook, observe, "attention")


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-004", severity="P1")
@pytest.mark.depth("weights")
def test_statistics_of_all_tensors_are_the_references(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Mean and spread of every tensor are the reference's within the tolerance of its class."""
    _judge(_pairs(declared_artifact, reference, playbook), playbook, observe, None)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-005", severity="P0")
@pytest.mark.depth("weights")
def test_gains_of_norms_are_near_one(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The gains of a norm average to about 1, or to as far from it as the reference's own."""
    from pytest_aprqa.suite.tensor_fingerprints import class_of

    tolerance = _tolerances(playbook)["layernorm"]
    problems = []
    norms = {
        name: pair
        for name, pair in _pairs(declared_artifact, reference, playbook).items()
        if class_of(name) == "layernorm" and name.endswith("weight")
    }
    if not norms:
        pytest.skip("no norm in common with the reference")
    for name, (found, expected) in norms.items():
        limit = max(GAIN_DISTANCE, abs(expected.mean - 1) + tolerance)
        if not abs(found.mean - 1) <= limit:
            problems.append(f"{name}: mean {found.mean:.4g}, 1 +- {limit:.3g}")
            observe.finding(name, found.mean, f"1 +- {limit:.3g}", "the gains were scaled or replaced")
    observe("norms", len(norms), limit=">= 1")
    observe("norms_far_from_one", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-ROSETTA-STATS-006", severity="P0")
@pytest.mark.depth("weights")
def test_no_tensor_lost_its_spread(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """No tensor that varies in the reference is constant in the artifact."""
    pairs = _pairs(declared_artifact, reference, playbook)
    problems = [name for name, (found, expected) in pairs.items() if expected.std > 0 and not found.std > 0]
    for name in problems:
        observe.finding(name, "standard deviation 0", "> 0", "every value is the same")
    observe("tensors_compared", len(pairs), limit=">= 1")
    observe("constant_tensors", len(problems), limit=0, passed=not problems)
    assert not problems, f"constant: {listed(problems)}"


def _tolerances(playbook: Playbook) -> dict[str, float]:
    return TOLERANCES | dict(playbook.blocks[BLOCK]["tolerance"])


def _judge(
    pairs: Mapping[str, tuple[Fingerprint, Fingerprint]], playbook: Playbook, observe: Observe, kind: str | None
) -> None:
    from pytest_aprqa.suite.tensor_fingerprints import class_of

    tolerances = _tolerances(playbook)
    chosen = {name: pair for name, pair in pairs.items() if kind is None or class_of(name) == kind}
    if not chosen:
        pytest.skip(f"no tensor of the class {kind} in common with the reference")
    problems = []
    for name, (found, expected) in chosen.items():
        tolerance = tolerances[class_of(name)]
        for field in ("mean", "std"):
            a, b = getattr(found, field), getattr(expected, field)
            if not abs(a - b) <= tolerance:
                problems.append(f"{name}: {field} {a:.4g}, {b:.4g} in the reference, tolerance {tolerance:g}")
                observe.finding(f"{name}: {field}", a, f"{b:.6g} +- {tolerance:g}", "other statistics")
    observe("tensors_compared", len(chosen), limit=">= 1")
    observe("statistics_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)


def _pairs(
    artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook
) -> dict[str, tuple[Fingerprint, Fingerprint]]:
    """name -> fingerprints of the artifact and of the reference: the playbook's file, else the source."""
    from pytest_aprqa.suite.compared_sides import (
        NothingCompared,
        is_ground_truth,
        require_two_files,
        require_values,
    )
    from pytest_aprqa.suite.tensor_fingerprints import fingerprint_of

    recorded = _recorded(playbook)
    if recorded is None and is_ground_truth(artifact, reference):
        pytest.skip("this is the ground truth itself: the other formats are compared with it")
    if recorded is None:
        require_two_files(artifact.file.path, reference.file.path)
    known: Any = recorded if recorded is not None else reference.tensors.names()
    names = [name for name in artifact.tensors.names() if name in known]
    require_values(artifact, names)
    pairs = {
        name: (
            fingerprint_of(artifact.tensors, name),
            recorded[name] if recorded is not None else fingerprint_of(reference.tensors, name),
        )
        for name in names
    }
    if all(expected.says_nothing for _, expected in pairs.values()):
        raise NothingCompared(f"all statistics of the {len(pairs)} tensors of the reference are zero: no reference")
    return pairs


def _recorded(playbook: Playbook) -> dict[str, Fingerprint] | None:
    """The playbook's own reference file, None where it names none; skipped where the file is not there."""
    from pytest_aprqa.suite.tensor_fingerprints import read_fingerprints

    named = playbook.blocks[BLOCK].get("reference")
    if not named:
        return None
    path = playbook.path.parent / named
    if not path.exists():
        pytest.skip(f"{BLOCK}.reference: {path} is not there: nothing of these gates is proven")
    return read_fingerprints(path)
