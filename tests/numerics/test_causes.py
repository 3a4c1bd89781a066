"""The cause of a failed comparison names what was done; near misses are not named."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest

from pytest_aprqa.formats.permutation import permute_rows, unpermute_rows
from pytest_aprqa.numerics.causes import SIMILAR, cause_of, matrix_cause
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
