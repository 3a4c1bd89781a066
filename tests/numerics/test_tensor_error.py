import math
import tracemalloc
from types import SimpleNamespace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_aprqa.numerics.tensor_error import SAME, compare_all, compare_tensors, tensor_error

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


class Held:
    """Tensors of one artifact in memory, with the part of CanonicalTensors that a comparison asks for."""

    def __init__(self, values, dtype="F32", cut=1 << 20, reordered=False):
        self.values, self.dtype, self.cut, self.reordered = values, dtype, cut, reordered
        self.read = 0

    def entry(self, name):
        return SimpleNamespace(shape=self.values.shape, dtype=self.dtype)

    def chunks(self, name, elements):
        flat = self.values.ravel()
        for at in range(0, flat.size, self.cut):
            self.read += 1
            yield flat[at : at + self.cut]

    def stored(self, name):
        return None if self.reordered else self.values.ravel().view(numpy.uint8)

    def count_read(self, name, size):
        """In memory there is nothing to let go."""


def test_another_shape_is_named_before_any_value_is_read():
    source, target = Held(numpy.zeros((4, 2))), Held(numpy.zeros((2, 4)))
    error = compare_tensors(source, target, "w")
    assert error.cause == "shape [2, 4], source has [4, 2]"
    assert math.isnan(error.nmse)
    assert source.read == target.read == 0


@pytest.mark.parametrize(("cut", "other"), [(7, 1 << 20), (1 << 17, 1 << 17), (300_000, 65_537)])
def test_tensors_are_compared_whatever_the_pieces_of_their_decoders(cut, other):
    values = GENERATOR.standard_normal((1000, 400)).astype(numpy.float32) if cut > 7 else SOURCE
    error = compare_tensors(Held(values, cut=cut), Held(values * 2, cut=other), "w")
    assert error.nmse == pytest.approx(1)
    assert error.likely_cause() == "scaled by about 2"


def test_equal_bytes_are_not_decoded():
    source, target = Held(SOURCE), Held(SOURCE.copy())
    assert compare_tensors(source, target, "w").nmse == 0
    assert source.read == 0
    assert compare_tensors(source, Held(SOURCE, reordered=True), "w").likely_cause() == "no difference"
    assert compare_tensors(source, Held(SOURCE, dtype="BF16"), "w").nmse == 0
    assert source.read > 0


def test_all_tensors_are_compared_in_their_order_on_any_number_of_threads():
    class Several(Held):
        def chunks(self, name, elements):
            yield self.values.ravel() * numpy.float32(int(name))

        def stored(self, name):
            return None

    names = [str(n) for n in range(1, 9)]
    doubled = Several(SOURCE * 2)
    for threads in (1, 2, None):
        errors = list(compare_all(Several(SOURCE), doubled, names, threads))
        assert [error.name for error in errors] == names
        assert all(error.nmse == pytest.approx(1) for error in errors)


def test_memory_is_bounded_by_the_piece_not_by_the_tensor():
    class Endless:
        """64 MiB of values that exist only while they are read."""

        def __init__(self, factor):
            self.factor = numpy.float32(factor)

        def entry(self, name):
            return SimpleNamespace(shape=(1 << 12, 1 << 12), dtype="F32")

        def chunks(self, name, elements):
            for number in range((1 << 24) // elements):
                yield numpy.arange(elements, dtype=numpy.float32) * self.factor + number

        def stored(self, name):
            return None

    tracemalloc.start()
    try:
        error = compare_tensors(Endless(1), Endless(1.5), "w")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.nmse > 0
    assert peak < 8 << 20, f"{peak >> 20} MiB for a tensor of 64 MiB"


@given(
    arrays(numpy.float32, st.integers(1, 200), elements=st.floats(-100, 100, width=32)),
    st.randoms(use_true_random=False),
)
def test_reordered_values_are_known_without_sorting(values, random):
    order = list(range(values.size))
    random.shuffle(order)
    error = tensor_error("w", values, values[order])
    if error.nmse:
        assert error.same_values_elsewhere
    changed = values.copy()
    changed[0] = changed[0] + 1 if changed[0] < 50 else changed[0] - 60
    assert not tensor_error("w", values, changed).same_values_elsewhere


@pytest.mark.parametrize(("rows", "named"), [(1000, True), (3, False)])
def test_an_error_too_small_for_equal_sums_to_mean_anything_is_no_reordering(rows, named):
    """Two values exchanged: among rows of large ones the error is below SAME, and equal sums say nothing."""
    source = numpy.full((rows, 64), 1.0 if named else 1e5, numpy.float32)
    source[0, :2] = (2.0, 3.0)
    target = source.copy()
    target[0, :2] = (3.0, 2.0)
    error = tensor_error("w", source, target)
    assert (error.nmse > SAME) is named
    assert error.likely_cause().startswith("permuted") is named
