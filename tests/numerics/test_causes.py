"""The cause of a failed comparison names what was done; near misses are not named."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest

from pytest_aprqa.formats.permutation import permute_rows, unpermute_rows
from pytest_aprqa.numerics.causes import SIMILAR, cause_of, matrix_cause
from pytest_aprqa.numerics.changed_part import byte_order
from pytest_aprqa.numerics.tensor_error import compare_tensors

GENERATOR = numpy.random.default_rng(11)


def random(*shape):
    return GENERATOR.standard_normal(shape).astype(numpy.float32)


WIDE, SQUARE = random(64, 96), random(64, 64)
ORDER = GENERATOR.permutation(64)


class Model:
    """Tensors by name, as far as a comparison asks."""

    def __init__(self, **tensors):
        self.tensors = tensors

    def names(self):
        return list(self.tensors)

    def entry(self, name):
        return SimpleNamespace(shape=self.tensors[name].shape, dtype="F32")

    def chunks(self, name, elements=1 << 20):
        flat = self.tensors[name].ravel()
        return (flat[at : at + elements] for at in range(0, flat.size, elements))

    def stored(self, name):
        return None


def cause(x, y, **others):
    source, target = Model(w=x, **others), Model(w=y, **others)
    return cause_of(source, target, compare_tensors(source, target, "w"))


def rounded(values, levels):
    scale = numpy.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True) / levels
    return (numpy.round(values.reshape(-1, 32) / scale) * scale).reshape(values.shape).astype(numpy.float32)


def changed(values, part, factor):
    result = values.copy()
    result[part] *= numpy.float32(factor)
    return result


def exchanged_rows(values, one, other):
    result = values.copy()
    result[[one, other]] = values[[other, one]]
    return result


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (lambda: permute_rows(WIDE, 4), "rotary order of 4 heads of 16, the halves of a head are interleaved"),
        (lambda: unpermute_rows(WIDE, 4), "rotary order of 4 heads of 16, interleaved pairs were pulled apart"),
        (lambda: permute_rows(WIDE, 1), "rotary order of 1 heads of 64"),
        (lambda: rounded(permute_rows(WIDE, 2), 7), "rotary order of 2 heads of 32"),
        (lambda: numpy.roll(WIDE, 1, axis=0), "off by one, row 1 holds the source's row 0"),
        (lambda: numpy.roll(WIDE, -1, axis=0), "off by one, row 1 holds the source's row 2"),
        (lambda: numpy.concatenate([WIDE[1:], random(1, 96)]), "off by one, row 1 holds the source's row 2"),
        (lambda: WIDE[ORDER], f"rows in another order, row 0 holds the source's row {ORDER[0]}"),
        (lambda: numpy.ascontiguousarray(WIDE.T).reshape(WIDE.shape), "the columns of the source are its rows"),
        (lambda: WIDE * 2, "scaled by about 2"),
        (lambda: WIDE + numpy.float32(1), "shifted by about 1"),
        (lambda: WIDE * 0, "all zero"),
        (lambda: random(64, 96), "other values"),
        (lambda: rounded(WIDE, 7), "fewer bits: about"),
        (lambda: changed(WIDE, numpy.s_[16:32], 0.98), "rows 16 to 31 scaled by about 0.98"),
        (lambda: changed(WIDE, numpy.s_[:, 32:48], 0.98), "columns 32 to 47 scaled by about 0.98"),
        (lambda: changed(WIDE, numpy.s_[5], -1), "row 5 negated"),
        (lambda: changed(WIDE, numpy.s_[:, 7], 0), "column 7 zero"),
        (lambda: changed(WIDE, numpy.s_[3, 9], 2), "one value, row 3, column 9"),
        (lambda: changed(WIDE, numpy.s_[::31, ::31], 1.5), "values, the first is row 0, column 0"),
        (lambda: exchanged_rows(WIDE, 20, 50), "2 rows, the first is row 20, in another order, row 20 holds"),
        (lambda: exchanged_rows(WIDE.T, 20, 50).T.copy(), "2 columns, the first is column 20, in another order"),
        (
            lambda: WIDE[:, numpy.roll(numpy.arange(96), 1)],
            "columns in another order, column 0 holds the source's column",
        ),
        (
            lambda: numpy.roll(WIDE.reshape(4, 16, 96)[[0, 2, 1, 3]], 0).reshape(64, 96),
            "row 16 holds the source's row 32",
        ),
        (lambda: rounded(changed(WIDE, numpy.s_[16:32], 0.9), 127), "rows 16 to 31 scaled by about 0.9"),
        (lambda: numpy.concatenate([WIDE[:60], random(4, 96)]), "rows 60 to 63 with other values"),
        (lambda: WIDE.view(numpy.uint32).byteswap().view(numpy.float32), "byte order: 100% of the values"),
        (lambda: (WIDE.view(numpy.uint32) & 0xFFF80000).view(numpy.float32), "at most 4 bits of mantissa"),
    ],
)
def test_cause_names_what_was_done(target, words):
    assert words in cause(WIDE, target())


def test_transpose_of_a_square_matrix_is_named():
    assert "it is the transpose" in cause(SQUARE, SQUARE.T.copy())


def test_rows_that_are_zero_are_counted():
    target = WIDE.copy()
    target[[5, 9]] = 0
    assert "2 rows are zero, the first is row 5" in cause(WIDE, target)


def test_values_of_another_tensor_are_named():
    up, gate = random(32, 48), random(32, 48)
    source, target = Model(up=up, gate=gate, small=random(8)), Model(up=gate, gate=up, small=random(8))
    error = compare_tensors(source, target, "up")
    assert cause_of(source, target, error) == "other values: exchanged, these are the source's gate"


def test_one_changed_value_and_fine_rounding_are_not_called_fewer_bits():
    target = WIDE.copy()
    target[3, 3] += 9
    assert cause(WIDE, target).startswith("part of the values changed")
    assert "distinct values" not in cause(WIDE, rounded(WIDE, 127))


@pytest.mark.parametrize(("share", "named"), [(SIMILAR * 0.8, True), (SIMILAR * 1.25, False)])
def test_noise_up_to_that_of_few_bits_is_looked_through(share, named):
    noise = random(*WIDE.shape)
    noise *= numpy.sqrt(share * (WIDE**2).sum() / (noise**2).sum())
    found = matrix_cause(WIDE, numpy.roll(WIDE, 1, axis=0) + noise)
    assert ("off by one" in (found or "")) is named


def test_vectors_and_other_shapes_have_the_hint_of_their_sums():
    assert cause(WIDE[0], WIDE[0][::-1].copy()).startswith("permuted or transposed")
    source, target = Model(w=WIDE), Model(w=WIDE.T.copy())
    assert "shape [96, 64]" in cause_of(source, target, compare_tensors(source, target, "w"))


def test_a_tensor_of_two_equal_rows_is_not_called_permuted():
    twin = numpy.concatenate([WIDE[:1], WIDE[:1]])
    target = twin.copy()
    target[0, 0] += 5
    assert "order" not in cause(twin, target)


def test_norms_that_are_nearly_alike_are_told_apart_by_the_nearer_one():
    """Norms of two layers differ by little: without a look at the other, the exchange seems to be a scale."""
    first = 1 + random(96) / 50
    second = first * numpy.float32(1.03)
    assert "these are the source's other" in cause(first, second, other=second)
    shifted = first + numpy.float32(1)
    assert "shifted by about 1" in cause(first, shifted, other=shifted * numpy.float32(1.05))
    near = second * numpy.float32(1.02)
    assert "exchanged" not in cause(first, near, other=second)


@pytest.mark.parametrize(("noise", "named"), [(0.02, True), (0.2, False)])
def test_a_scaled_head_is_told_from_noise_of_its_own_size_only_below_it(noise, named):
    """Under the noise of few bits, rows stand out by ten times the median error of a row."""
    noisy = WIDE + random(64, 96) * numpy.float32(noise)
    noisy[16:32] = WIDE[16:32] * numpy.float32(0.9)
    assert ("rows 16 to 31 scaled" in cause(WIDE, noisy)) == named


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_bytes_of_half_floats_in_the_other_order_are_named(dtype):
    if dtype == "F16":
        x = WIDE.astype(numpy.float16).astype(numpy.float32)
        y = x.astype(numpy.float16).view(numpy.uint16).byteswap().view(numpy.float16).astype(numpy.float32)
    else:
        x = (WIDE.view(numpy.uint32) & 0xFFFF0000).view(numpy.float32)
        y = ((WIDE.view(numpy.uint32) >> 16).astype(numpy.uint16).byteswap().astype(numpy.uint32) << 16).view("f4")
    assert byte_order(x, y, dtype).startswith("byte order: 100%" if dtype == "BF16" else "byte order: ")
    assert byte_order(x, x, dtype) is None
    assert byte_order(x, y, "Q8_0") is None
