import math
from types import SimpleNamespace

import numpy
import pytest

from pytest_aprqa.numerics.tensor_error import compare_tensors, tensor_error

GENERATOR = numpy.random.default_rng(7)
SOURCE = GENERATOR.standard_normal((64, 32)).astype(numpy.float32)
NOISE = GENERATOR.standard_normal(SOURCE.shape).astype(numpy.float32)
ROWS = GENERATOR.permutation(64)


def with_one(value: float) -> numpy.ndarray:
    changed = SOURCE.copy()
    changed[5, 5] = value
    return changed


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        (SOURCE, "no difference"),
        (SOURCE[ROWS], "permuted or transposed"),
        (SOURCE.T.reshape(SOURCE.shape), "permuted or transposed"),
        (numpy.roll(SOURCE, 1), "permuted or transposed"),
        (SOURCE * 2, "scaled by about 2"),
        (SOURCE / 2, "scaled by about 0.5"),
        (SOURCE * numpy.float32(1.02), "scaled by about 1.02"),
        (-SOURCE, "scaled by about -1"),
        (SOURCE * 2 + NOISE * numpy.float32(0.1), "scaled by about 2"),
        (SOURCE * 0, "all zero"),
        (SOURCE + numpy.float32(0.5), "shifted by about 0.5"),
        (SOURCE - numpy.float32(0.01), "shifted by about -0.01"),
        (SOURCE + numpy.float32(8), "shifted by about 8"),
        (NOISE, "other values"),
        (SOURCE + NOISE * numpy.float32(0.05), "fewer bits"),
        (with_one(9), "part of the values"),
        (with_one(math.nan), "NaN or infinite"),
        (with_one(math.inf), "NaN or infinite"),
    ],
)
def test_the_hint_names_what_was_done(target, cause):
    assert cause in tensor_error("w", SOURCE, target).likely_cause()


@pytest.mark.parametrize(("factor", "named"), [(1.009, False), (0.991, False), (1.011, True), (0.989, True)])
def test_a_scale_is_named_from_one_hundredth(factor, named):
    error = tensor_error("w", SOURCE, SOURCE * numpy.float32(factor))
    assert error.likely_cause().startswith("scaled") is named


@pytest.mark.parametrize(("share", "named"), [(0.045, True), (0.055, False)])
def test_a_scale_may_leave_a_twentieth_of_the_energy_unexplained(share, named):
    source, noise = SOURCE.astype(numpy.float64).ravel(), NOISE.astype(numpy.float64).ravel()
    noise -= source * (noise @ source) / (source @ source)
    noise *= math.sqrt(share / (1 - share) * 4 * (source @ source) / (noise @ noise))
    assert tensor_error("w", source, 2 * source + noise).likely_cause().startswith("scaled") is named


@pytest.mark.parametrize(("share", "named"), [(0.991, True), (0.989, False)])
def test_a_shift_must_explain_99_of_100_of_the_error(share, named):
    noise = NOISE.astype(numpy.float64).ravel()
    noise -= noise.mean()
    noise *= math.sqrt((1 - share) / share * noise.size * 0.25 / (noise @ noise))
    target = SOURCE.astype(numpy.float64).ravel() + 0.5 + noise
    assert tensor_error("w", SOURCE.astype(numpy.float64), target).likely_cause().startswith("shifted") is named


def test_the_error_is_the_ratio_of_the_sums():
    source, target = numpy.array([3.0, 4.0]), numpy.array([3.0, 5.0])
    error = tensor_error("w", source, target)
    assert error.nmse == pytest.approx(1 / 25)
    assert (error.source_energy, error.energy) == (25, 34)
    assert error.scale == pytest.approx(29 / 25)


@pytest.mark.parametrize(("target", "nmse"), [([0.0, 0.0], 0.0), ([0.0, 1e-3], math.inf)])
def test_a_source_of_zeros(target, nmse):
    assert tensor_error("w", numpy.zeros(2), numpy.array(target)).nmse == nmse


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_within_no_limit(value):
    assert not tensor_error("w", SOURCE, with_one(value)).nmse <= 1e9


def test_an_empty_tensor_is_equal():
    assert tensor_error("w", numpy.zeros((0, 4)), numpy.zeros((0, 4))).nmse == 0


def test_pieces_of_a_long_tensor_are_added_up():
    source = numpy.ones((1 << 20) + 3, dtype=numpy.float32)
    target = source.copy()
    target[[0, -1]] = 2
    error = tensor_error("w", source, target)
    assert error.nmse == pytest.approx(2 / source.size, rel=1e-12)


def test_another_shape_is_named_before_any_value_is_read():
    def of(shape):
        return SimpleNamespace(entry=lambda name: SimpleNamespace(shape=shape), read=None)

    error = compare_tensors(of((4, 2)), of((2, 4)), "w")
    assert error.cause == "shape [2, 4], source has [4, 2]"
    assert math.isnan(error.nmse)


def test_tensors_of_one_shape_are_read_and_compared():
    def of(values):
        return SimpleNamespace(entry=lambda name: SimpleNamespace(shape=values.shape), read=lambda name: values)

    assert compare_tensors(of(SOURCE), of(SOURCE * 2), "w").nmse == pytest.approx(1)
