"""Counts, sums and row norms streamed over tensors equal those of numpy over the whole tensor."""

from functools import reduce
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.formats.value_sums import ValueSums, sums_of_values
from pytest_aprqa.suite.tensor_values import count_values, norms_of, row_norms, values_of


class Chunked:
    """One tensor in memory that is given out in pieces of `size` values."""

    def __init__(self, values, size):
        self.values, self.size, self.file = values, size, self

    def chunks(self, name, elements=None):
        flat = self.values.reshape(-1)
        return (flat[i : i + self.size] for i in range(0, flat.size, self.size))

    def sums(self, name):
        return reduce(ValueSums.merged, map(sums_of_values, self.chunks(name)))

    def entry(self, name):
        return SimpleNamespace(shape=self.values.shape)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_counts_equal_numpys(size):
    values = np.random.default_rng(0).standard_normal((13, 29)).astype(np.float32)
    values[3] = 0
    counts = count_values(Chunked(values, size), "x")
    assert (counts.total, counts.nan, counts.infinite) == (377, 0, 0)
    assert counts.zero_share == pytest.approx(29 / 377)
    assert counts.squares == pytest.approx(float((values.astype(np.float64) ** 2).sum()))
    assert (counts.minimum, counts.maximum) == (values.min(), values.max())


def test_what_is_not_finite_is_counted_and_left_out_of_the_sums():
    values = np.array([[1, np.nan, -2, np.inf], [0, -np.inf, 3, np.nan]], np.float32)
    counts = count_values(Chunked(values, 3), "x")
    assert (counts.nan, counts.infinite, counts.nonzero, counts.total) == (2, 2, 7, 8)
    assert (counts.squares, counts.minimum, counts.maximum) == (14, -2, 3)


def test_large_finite_values_do_not_overflow():
    counts = count_values(Chunked(np.full((2, 2), 3e38, np.float32), 4), "x")
    assert counts.infinite == 0
    assert counts.squares == pytest.approx(4 * 9e76, rel=1e-6)


@pytest.mark.parametrize("size", [1, 5, 8, 12, 1000])
def test_row_norms_do_not_depend_on_where_a_piece_ends(size):
    values = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32)
    values[[2, 10]] = 0
    found = row_norms(norms_of(Chunked(values, size), "x"), (0.1, 0.5, 0.9), 1e-6)
    assert (found.rows, found.dead) == (20, 2)
    assert found.sampled == {
        2: 0.0,
        10: 0.0,
        18: pytest.approx(float(np.linalg.norm(values[18].astype(np.float64)))),
    }


def test_a_row_just_at_and_just_above_the_floor():
    values = np.zeros((2, 4), np.float32)
    values[0, 0], values[1, 0] = 1e-6, 1.01e-6
    assert row_norms(norms_of(Chunked(values, 100), "x"), (), float(np.float32(1e-6))).dead == 1


def test_the_second_question_about_an_open_file_is_not_read_again(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"x": ("F32", (4,), np.ones(4, np.float32))})
    with open_tensor_file(tmp_path / "model.safetensors") as file:
        assert values_of(file, "x") is values_of(file, "x")
