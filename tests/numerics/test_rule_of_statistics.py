"""The specification's rule for I-4 (mean, std, min, max within atol = rtol) beside ours, on its own worked examples.

The page of the invariants has these numbers; `PAGE` is read, so that it cannot say others.
"""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from pytest_aprqa.formats.codecs import decode, encode
from pytest_aprqa.numerics.limits import limit_for
from pytest_aprqa.numerics.tensor_error import tensor_error

Values = NDArray[numpy.float32]
PAGE = (Path(__file__).parents[2] / "docs/explanation/gateways.md").read_text(encoding="utf-8")
#: atol = rtol of the specification, by stored type.
TOLERANCE = {
    "F32": 0.0, "F16": 0.001, "BF16": 0.005, "Q8_0": 0.01, "Q6_K": 0.02, "Q5_K": 0.03, "Q4_K": 0.05, "Q4_0": 0.05,
    "Q3_K": 0.08, "Q2_K": 0.15,
}  # fmt: skip
# type, mean of the artifact, mean of the source, verdict of the specification
EXAMPLES = [
    ("Q4_K", 0.100, 0.160, False),
    ("Q4_K", 0.100, 0.155, True),
    ("Q8_0", 1.000, 1.015, True),
    ("F32", 1.000, 1.000, True),
    ("F32", 1.000, 1.0000001, False),
]
SPREAD = 0.02  # of ordinary weights


def close(found: float, source: float, dtype: str) -> bool:
    return abs(found - source) <= TOLERANCE[dtype] + TOLERANCE[dtype] * abs(source)


def statistics(values: Values) -> list[float]:
    wide = values.astype(numpy.float64)
    return [float(figure) for figure in (wide.mean(), wide.std(), wide.min(), wide.max())]


def accepted_by_statistics(found: Values, source: Values, dtype: str) -> bool:
    return all(close(a, b, dtype) for a, b in zip(statistics(found), statistics(source), strict=True))


def accepted_by_us(found: Values, source: Values, dtype: str) -> bool:
    return tensor_error("t", source, found).nmse <= limit_for(dtype)


def tensor(mean: float, spread: float) -> Values:
    """4096 values with exactly this mean and spread (to the last bits of float32), the same ones every time."""
    values = numpy.random.default_rng(4).standard_normal(4096)
    values = (values - values.mean()) / values.std()
    return (mean + spread * values).astype(numpy.float32)


def row(text: str) -> list[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {text} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("dtype", "found", "source", "verdict"), EXAMPLES)
def test_the_worked_examples_of_the_specification_are_those_of_its_rule(dtype, found, source, verdict):
    assert close(found, source, dtype) is verdict


@pytest.mark.parametrize(
    ("dtype", "found", "source", "theirs", "ours"),
    [
        ("Q4_K", 0.100, 0.160, False, False),
        ("Q4_K", 0.100, 0.155, True, False),
        ("Q8_0", 1.000, 1.015, True, False),
        ("F32", 1.000, 1.000, True, True),
    ],
)
def test_a_tensor_moved_as_in_an_example_is_refuted_whichever_way_the_statistics_decide(
    dtype, found, source, theirs, ours
):
    moved, origin = tensor(found, SPREAD), tensor(source, SPREAD)
    assert close(statistics(moved)[0], statistics(origin)[0], dtype) is theirs
    assert accepted_by_us(moved, origin, dtype) is ours
    nmse = tensor_error("t", origin, moved).nmse
    words = row(f"{dtype}, mean {source:.3f} → {found:.3f}")
    assert words[1].startswith("accepted" if theirs else "refuted")
    assert words[2] == f"{'accepted' if ours else 'refuted'}: {nmse:.2g}, limit {limit_for(dtype):.2g}"


def test_float32_is_exact_for_both():
    origin = tensor(1.0, SPREAD)
    moved = numpy.nextafter(origin, numpy.float32(9), dtype=numpy.float32)
    assert not accepted_by_us(moved, origin, "F32")
    assert accepted_by_us(origin, origin, "F32")
    assert not accepted_by_statistics(moved, origin, "F32")


def test_the_same_values_in_another_order_have_the_same_statistics_and_are_refuted_by_us():
    origin = tensor(0.0, SPREAD)
    for dtype in TOLERANCE:
        # Another order of summing moves the last bits of a mean, and float32 has no tolerance for them.
        assert dtype == "F32" or accepted_by_statistics(origin[::-1], origin, dtype)
        assert not accepted_by_us(origin[::-1], origin, dtype)
    assert row("Q4_K, values in reverse order")[1:] == [
        "accepted: nothing moved",
        f"refuted: {tensor_error('t', origin, origin[::-1]).nmse:.2g}, limit {limit_for('Q4_K'):.2g}",
    ]


def test_small_weights_that_became_zero_are_within_the_absolute_tolerance_and_are_refuted_by_us():
    origin = tensor(0.0, 0.01)
    zero = numpy.zeros_like(origin)
    assert accepted_by_statistics(zero, origin, "Q4_K")
    assert not accepted_by_us(zero, origin, "Q4_K")
    assert row("Q4_K, weights of spread 0.01, all zeroed")[2] == "refuted: 1, limit 0.015"


def test_a_shift_within_the_noise_of_the_type_is_accepted_by_us():
    """The one place where statistics are stricter; they are compared by F-ROSETTA-FP-003 and F-ROSETTA-STATS."""
    origin, moved = tensor(0.160, 0.5), tensor(0.100, 0.5)
    assert not accepted_by_statistics(moved, origin, "Q4_K")
    assert accepted_by_us(moved, origin, "Q4_K")
    assert not accepted_by_us(tensor(0.160, 0.4), tensor(0.100, 0.4), "Q4_K")
    nmse = tensor_error("t", origin, moved).nmse
    assert row("Q4_K, mean 0.160 → 0.100, spread 0.5")[2] == f"accepted: {nmse:.2g}, limit 0.015"


@pytest.mark.parametrize("dtype", ["F16", "BF16", "Q8_0", "Q4_K", "Q4_0"])
def test_what_a_type_loses_is_accepted_by_us(dtype):
    origin = tensor(0.0, SPREAD).reshape(4, 1024)
    raw = numpy.frombuffer(encode(dtype, origin), numpy.uint8)
    assert accepted_by_us(decode(dtype, raw, origin.shape), origin, dtype)
