"""One damaged row is found in a tensor of few bits; clean quantisation, faint rows and one dominant value are not."""

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.numerics.limits import limit_for
from pytest_aprqa.numerics.paired_pieces import even
from pytest_aprqa.suite.row_errors import ROW_FACTOR, matrix_error

TYPES = [t for t in ("Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q4_K", "Q4_0") if t in codecs.ENCODABLE]


class Tensors:
    def __init__(self, values, piece=1000):
        self.values, self.piece = values, piece

    def entry(self, name):
        return SimpleNamespace(shape=self.values.shape, dtype="F32")

    def stored(self, name):
        return None

    def chunks(self, name, elements):
        flat = self.values.reshape(-1)
        return (flat[i : i + self.piece] for i in range(0, flat.size, self.piece))


def quantised(dtype, values):
    return codecs.decode(dtype, np.frombuffer(codecs.encode(dtype, values), np.uint8), values.shape)


def damaged(source, target, dtype):
    return matrix_error(Tensors(source), Tensors(target, 777), "x", limit_for(dtype, "F32"), dtype).damaged


def weights(seed=0, rows=64, columns=512):
    return np.random.default_rng(seed).standard_t(4, (rows, columns)).astype(np.float32)


@pytest.mark.parametrize("dtype", TYPES)
def test_clean_quantisation_has_no_damaged_row(dtype):
    x = weights()
    x[5] *= 1e-4
    x[6] *= 1e4
    x[7] = 0
    x[8] = 1e-3
    x[8, 17] = 50.0
    assert damaged(x, quantised(dtype, x), dtype) == []


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda row: row * 0, "the row is zero"),
        (lambda row: row * 1.5, "the row is scaled by about 1.5"),
        (lambda row: row[::-1], "the row has other values"),
    ],
)
def test_one_damaged_row_is_named_with_its_cause(dtype, change, cause):
    x = weights(1, rows=400)
    y = quantised(dtype, x).copy()
    y[33] = change(y[33])
    (found,) = damaged(x, y, dtype)
    assert found.row == 33
    assert found.cause[: len(cause) - 2] == cause[: len(cause) - 2]
    tensor = float(((y - x) ** 2).sum() / (x**2).sum())
    if dtype == "Q4_0":
        assert tensor < limit_for(dtype, "F32"), "the row would not have been seen in the tensor's own error"


def test_just_at_and_just_above_the_limit_of_a_row():
    x = np.ones((4, 100), np.float32)
    bound = ROW_FACTOR * 0.01
    for factor, count in ((0.99, 0), (1.01, 1)):
        y = x.copy()
        y[2] += np.float32(np.sqrt(bound * factor))
        assert len(matrix_error(Tensors(x), Tensors(y), "x", 0.01, "Q8_0").damaged) == count


def test_a_value_that_is_not_finite_is_a_damaged_row():
    x = weights(2, 4)
    y = x.copy()
    y[1, 0] = np.nan
    assert [r.row for r in damaged(x, y, "Q8_0")] == [1]


def test_a_faint_row_of_a_tensor_with_one_scale_is_judged_by_the_loud_ones():
    x = weights(3, 4)
    x[0] *= 1e-3
    y = x.copy()
    y[0] = 0
    assert damaged(x, y, "APR_Q8") == []
    assert [r.row for r in damaged(x, y, "Q8_0")] == [0]


def test_the_error_of_the_matrix_is_that_of_a_plain_computation():
    x, y = weights(4), weights(5)
    expected = ((y.astype(float) - x) ** 2).sum() / (x.astype(float) ** 2).sum()
    assert matrix_error(Tensors(x), Tensors(y), "x", 0.1, "Q8_0").nmse == pytest.approx(expected, rel=1e-5)
    assert matrix_error(Tensors(x), Tensors(x), "x", 0.0, "F32").nmse == 0


def test_values_whose_squares_overflow_float32_are_compared_in_float64():
    x = weights(6, 8) * np.float32(1e25)
    assert matrix_error(Tensors(x), Tensors(x), "x", 0.0, "F32").nmse == 0
    y = x * np.float32(1.1)
    assert matrix_error(Tensors(x), Tensors(y), "x", 0.0, "F32").nmse == pytest.approx(0.01, rel=1e-3)


def test_a_zero_matrix_equals_only_a_zero_matrix():
    x = np.zeros((3, 4), np.float32)
    assert matrix_error(Tensors(x), Tensors(x), "x", 0.1, "Q8_0").nmse == 0
    assert matrix_error(Tensors(x), Tensors(x + 1), "x", 0.1, "Q8_0").nmse == np.inf
    assert np.isnan(matrix_error(Tensors(x), Tensors(x * np.nan), "x", 0.1, "Q8_0").nmse)


@pytest.mark.parametrize("size", [1, 3, 10, 99, 1000])
def test_pieces_are_of_the_size_asked_for(size):
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    pieces = list(even(Tensors(values, 7).chunks("x", size), size))
    assert np.concatenate(pieces).tolist() == values.reshape(-1).tolist()
    assert all(p.size == size for p in pieces[:-1])
