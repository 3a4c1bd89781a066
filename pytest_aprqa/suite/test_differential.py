"""`differential_tests` without an engine: tensor diff, fingerprint, statistics against the reference, format rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

DIFF, FINGERPRINT = "differential_tests.tensor_diff", "differential_tests.fingerprint"
SAME, OTHER = 0.01, 0.5  # NMSE of a matrix that is the other side's transpose, and of one that is not itself


@pytest.mark.block(DIFF)
@pytest.mark.gate("F-ROSETTA-DIFF-001", severity="P0")
@pytest.mark.depth("structure")
def test_no_tensor_is_transposed(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """No matrix has the source's shape reversed, and no square one is the source's transpose."""
    names = _common(declared_artifact, reference, observe, playbook.blocks[DIFF].get("filter"))
    problems = [name for name in names if _is_transposed(declared_artifact, reference, name)]
    for name in problems:
        found, expected = (list(side.tensors.entry(name).shape) for side in (declared_artifact, reference))
        observe.finding(name, f"{found} (transposed)", str(expected), "rows and columns are exchanged")
    observe("transposed", len(problems), limit=0, passed=not problems)
    observe.advise("the converter exchanged rows and columns: GGUF lists its dimensions innermost first")
    assert not problems, f"{len(problems)} of {len(names)} tensors are transposed: {listed(problems)}"


@pytest.mark.block(DIFF)
@pytest.mark.gate("F-ROSETTA-DIFF-002", severity="P0")
@pytest.mark.depth("structure")
def test_no_tensor_has_another_shape(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Every tensor of the source is there with the source's shape, and no other is."""
    from pytest_aprqa.suite.same_model import name_differences

    wanted = playbook.blocks[DIFF].get("filter")
    names = _common(declared_artifact, reference, observe, wanted)
    missing, extra = name_differences(reference, declared_artifact)
    problems = [f"{name}: missing" for name in missing if not wanted or wanted in name]
    problems += [f"{name}: not in the source" for name in extra if not wanted or wanted in name]
    for name in names:
        found, expected = (list(side.tensors.entry(name).shape) for side in (declared_artifact, reference))
        if found != expected:
            problems.append(f"{name}: shape {found}, {expected} in the source")
    for problem in problems:
        where, _, what = problem.partition(": ")
        observe.finding(where, what, "as in the source", "another shape or another set of tensors")
    observe("mismatched_tensors", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} tensors do not match: {listed(problems)}"


@pytest.mark.block(FINGERPRINT)
@pytest.mark.gate("F-ROSETTA-FP-001", severity="P0")
@pytest.mark.depth("weights")
def test_fingerprints_are_finite(declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> None:
    """No tensor that is fingerprinted has NaN or infinite values, and not all of them are zero."""
    from pytest_aprqa.suite.compared_sides import require_values
    from pytest_aprqa.suite.tensor_fingerprints import fingerprint_of

    names = _chosen(declared_artifact.tensors.names(), playbook.blocks[FINGERPRINT].get("tensors"))
    observe("tensors", len(names), limit=">= 1", passed=bool(names))
    require_values(declared_artifact, names)
    problems = []
    for name in names:
        one = fingerprint_of(declared_artifact.tensors, name)
        if one.nan_count or one.inf_count:
            problems.append(f"{name}: {one.nan_count} NaN, {one.inf_count} infinite")
            observe.finding(name, problems[-1].partition(": ")[2], "finite values", "NaN or infinite values")
    observe("damaged_tensors", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)


@pytest.mark.block(FINGERPRINT)
@pytest.mark.gate("F-ROSETTA-FP-002", severity="P0")
@pytest.mark.depth("weights")
def test_checksums_are_the_sources(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """A tensor whose type can hold the source's values has the source's checksum, value by value."""
    from pytest_aprqa.suite.tensor_fingerprints import fingerprint_of
    from pytest_aprqa.suite.value_limits import value_limit

    names = _common(declared_artifact, reference, observe, playbook.blocks[FINGERPRINT].get("tensors"))
    mine, source = declared_artifact.tensors, reference.tensors
    exact = [n for n in names if value_limit(reference, declared_artifact, n) == 0]
    observe("stored_exactly", len(exact), limit=">= 1")
    if not exact:
        pytest.skip(f"no type of {len(names)} tensors holds the source's values: see F-ROSETTA-FP-003")
    problems = []
    for name in exact:
        found, expected = (fingerprint_of(side, name).checksum for side in (mine, source))
        if found != expected:
            problems.append(name)
            observe.finding(name, found[:16], expected[:16], "other values than the source's")
    observe("checksums_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(exact)} checksums differ: {listed(problems)}"


@pytest.mark.block(FINGERPRINT)
@pytest.mark.gate("F-ROSETTA-FP-003", severity="P1")
@pytest.mark.depth("weights")
def test_fingerprints_are_the_sources(
    declared_artifact: OpenArtifact, reference: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Mean, spread and extremes of each tensor are the source's within the spread that its type loses."""
    from pytest_aprqa.suite.tensor_fingerprints import NUMBERS, fingerprint_of

    block = playbook.blocks[FINGERPRINT]
    wanted = [name for name in block["stats"] if name in NUMBERS]
    if not wanted:
        pytest.skip(f"differential_tests.fingerprint.stats names none of {', '.join(NUMBERS)}")
    names = _common(declared_artifact, reference, observe, block.get("tensors"))
    problems = []
    for name in names:
        found, expected = (fingerprint_of(side.tensors, name) for side in (declared_artifact, reference))
        tolerance = _tolerance_of(found.dtype, expected)
        for field in wanted:
            a, b = getattr(found, field), getattr(expected, field)
            if not abs(a - b) <= tolerance:
                problems.append(f"{name}: {field} {a:.4g}, {b:.4g} in the source, tolerance {tolerance:.3g}")
                observe.finding(f"{name}: {field}", a, f"{b:.6g} +- {tolerance:.3g}", "other statistics")
    observe("values_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} statistics differ: {listed(problems)}"


def _tolerance_of(dtype: str, expected: Any) -> float:
    """Absolute: what rounding to a type moves one value by at most, in parts of the tensor's largest value.

    Half a step of a block of 32 or 256 values; floats by the digits that they keep.
    """
    digits = {"F64": 0.0, "F32": 2.0**-23, "F16": 2.0**-11, "BF16": 2.0**-8}
    bits = {"Q2": 2, "Q3": 3, "Q4": 4, "Q5": 5, "Q6": 6, "Q8": 7, "APR_Q4": 4, "APR_Q8": 7}
    largest = max(abs(expected.min), abs(expected.max))
    if dtype in digits:
        return float(digits[dtype] * largest)
    count = next((bits[key] for key in (dtype[:6], dtype[:2]) if key in bits), 2)
    return float(largest / 2 ** (count - 1))


def _chosen(names: Sequence[str], wanted: Any) -> list[str]:
    """Names that contain one of the wanted texts; "all" or nothing takes every one."""
    if wanted in (None, "", "all"):
        return list(names)
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    return [name for name in names if any(text in name for text in texts)]


def _common(artifact: OpenArtifact, reference: OpenArtifact, observe: Observe, wanted: Any = None) -> list[str]:
    """Tensors of both sides that are asked for; NothingCompared where there are none, or the sides are one file."""
    from pytest_aprqa.suite.compared_sides import is_ground_truth, require_two_files, require_values

    if is_ground_truth(artifact, reference):
        pytest.skip("this is the ground truth itself: the other formats are compared with it")
    require_two_files(artifact.file.path, reference.file.path)
    present = set(artifact.tensors.names())
    names = _chosen([name for name in reference.tensors.names() if name in present], wanted)
    observe("tensors_compared", len(names), limit=">= 1", passed=bool(names))
    for side in (reference, artifact):
        require_values(side, names)
    return names


def _is_transposed(artifact: OpenArtifact, reference: OpenArtifact, name: str) -> bool:
    import numpy

    mine, source = artifact.tensors.entry(name).shape, reference.tensors.entry(name).shape
    if len(source) != 2 or 1 in source:
        return False
    if mine != source:
        return mine == source[::-1]
    if source[0] != source[1]:
        return False
    x, y = reference.tensors.read(name).astype(numpy.float64), artifact.tensors.read(name)
    energy = float((x * x).sum())
    if not energy:
        return False
    return float(((y - x) ** 2).sum()) > OTHER * energy and float(((y - x.T) ** 2).sum()) < SAME * energy
