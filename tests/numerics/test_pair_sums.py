"""One pass over two matrices gives what plain float64 arithmetic gives, in numpy and in the compiled loops alike."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.value_sums import sums_of_values
from pytest_aprqa.numerics import pair_sums as subject
from pytest_aprqa.numerics.pair_sums import pair_sums

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs the extra `fast` (numba)")
WAYS = [pytest.param(False, id="numpy"), pytest.param(True, id="compiled", marks=needs_numba)]
TARGETS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "APR_Q8", "APR_Q4"]


class Tensors:
    """One matrix as stored bytes; without `plain` only its decoded pieces are told."""

    def __init__(self, dtype, values, plain=True):
        encodable = dtype in codecs.ENCODABLE
        self.raw = np.frombuffer(codecs.encode(dtype, values) if encodable else values, np.uint8)
        self.dtype, self.shape, self.plain = dtype, values.shape, plain
        self.looked_at = 0

    @property
    def values(self):
        return codecs.decode(self.dtype, self.raw, self.shape)

    def entry(self, name):
        return SimpleNamespace(dtype=self.dtype, shape=self.shape)

    def stored(self, name):
        return self.raw if self.plain else None

    def chunks(self, name, elements):
        return codecs.decode_pieces(self.dtype, self.raw, self.shape, elements)

    def count_read(self, name, size):
        self.looked_at += size


def weights(rows=37, columns=512, seed=0):
    return np.random.default_rng(seed).normal(0.0005, 0.02, (rows, columns)).astype(np.float32)


def quantised(dtype, values):
    """Stored as DTYPE; random blocks with finite scales where there is no encoder."""
    if dtype in codecs.ENCODABLE:
        return Tensors(dtype, values)
    width, size = BLOCKS[dtype]
    raw = np.random.default_rng(9).integers(0, 256, (values.size // width, size), np.uint8)
    raw[:, [1, 3]] &= 0x3B
    made = Tensors("F32", values)
    made.raw, made.dtype = raw.reshape(-1), dtype
    return made


def assert_sums(found, x, y, segment=0):
    a, b = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(found.errors, ((b - a) ** 2).sum(axis=1), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found.energies, (a * a).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.own, (b * b).sum(axis=1), rtol=1e-5)
    assert_values(found.values, y)
    if segment:
        parts = [one.reshape(len(x), -1, segment) for one in (a * a, a * b, b * b)]
        np.testing.assert_allclose(found.products, np.stack([p.sum(axis=2) for p in parts]), rtol=1e-9, atol=1e-12)


def assert_values(found, y):
    expected = sums_of_values(y)
    for field in ("count", "nans", "infinities", "zeros", "minimum", "maximum"):
        assert getattr(found, field) == getattr(expected, field), field
    assert found.mean == pytest.approx(expected.mean, rel=1e-4, abs=1e-6)
    assert found.squares == pytest.approx(expected.squares, rel=1e-5)


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize("source", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_pair_of_types(source, target, compiled):
    x = Tensors(source, weights())
    y = quantised(target, x.values)
    found = pair_sums(x, y, "w", 128, compiled=compiled)
    if source == target:
        assert found.same
        assert_values(found.values, y.values)
        assert (found.errors == 0).all()
        np.testing.assert_allclose(found.own, (y.values.astype(float) ** 2).sum(axis=1), rtol=1e-5)
    else:
        assert not found.same
        assert_sums(found, x.values, y.values, 128)


@needs_numba
@pytest.mark.parametrize("dtype", sorted({"F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"}))
def test_the_compiled_decoders_are_those_of_the_codecs_bit_for_bit(dtype):
    width, size = BLOCKS[dtype]
    count = 64 * 2560
    raw = np.random.default_rng(1).integers(0, 256, (count // width, size), np.uint8)
    for at in {"Q4_K": [1, 3], "Q5_K": [1, 3], "Q6_K": [209]}.get(dtype, [1]):
        raw[:, at] &= 0xBB  # finite
    y = Tensors("F32", np.zeros((64, 2560), np.float32))
    y.raw, y.dtype = raw.reshape(-1), dtype
    x = Tensors("F32", y.values)
    found = pair_sums(x, y, "w", compiled=True)
    scale = float(np.abs(x.values).max()) ** 2
    if not np.isfinite(found.energies).all() or scale > 1e30:
        pytest.skip("too large for float32 sums: numpy decoded")
    assert (found.errors == 0).all()
    assert found.values.count == count


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize("columns", [32, 96, 2560, 2048 + 32, 70_016])
def test_rows_of_any_length(columns, compiled, monkeypatch):
    monkeypatch.setattr(subject, "_COMPILED_AT_ONCE", 1 << 14)
    x = Tensors("BF16", weights(7, columns))
    y = Tensors("Q8_0", x.values)
    assert_sums(pair_sums(x, y, "w", 32, compiled=compiled), x.values, y.values, 32)
    assert_sums(pair_sums(x, y, "w", columns, compiled=compiled), x.values, y.values, columns)


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize("shape", [(5, 300), (300, 5), (1, 1), (3, 7)])
def test_rows_that_are_no_whole_blocks_and_values_in_another_order(shape, compiled):
    x = Tensors("BF16", weights(*shape))
    for y in (Tensors("F16", x.values, plain=False), Tensors("APR_Q4", x.values), Tensors("F32", x.values * 2)):
        assert_sums(pair_sums(x, y, "w", compiled=compiled), x.values, y.values)


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_not_finite_are_counted_on_the_way(dtype, odd, compiled):
    values = weights(20)
    values[3, 5] = odd
    for x, y in ((weights(20), values), (values, weights(20))):
        one, other = Tensors("F32", x), Tensors(dtype, y)
        with np.errstate(all="ignore"):
            found = pair_sums(one, other, "w", compiled=compiled)
            if dtype == "F32" and odd == 3e38:
                expected = ((y.astype(np.float64) - x) ** 2).sum(axis=1)
                np.testing.assert_allclose(found.errors, expected, rtol=1e-6)
            assert_values(found.values, other.values)
            bad = ~np.isfinite(found.errors + found.energies)
        stored = other.values[3, 5] if y is values else one.values[3, 5]
        assert bad.sum() == (0 if np.isfinite(stored) else 1)


@pytest.mark.parametrize("compiled", WAYS)
def test_one_sign_and_a_large_mean_are_summed_exactly(compiled):
    for values in (np.abs(weights()) + 1, weights() - 100, np.zeros((4, 64), np.float32)):
        x, y = Tensors("BF16", values), Tensors("F32", values)
        with np.errstate(all="ignore"):
            assert_sums(pair_sums(x, y, "w", compiled=compiled), x.values, y.values)


@pytest.mark.parametrize("compiled", WAYS)
def test_one_other_byte_is_no_equality(compiled):
    x, y = Tensors("BF16", weights(400)), Tensors("BF16", weights(400))
    assert pair_sums(x, y, "w", compiled=compiled).same
    assert y.looked_at == y.raw.size
    y.raw = y.raw.copy()
    y.raw[-1] ^= 1
    found = pair_sums(x, y, "w", compiled=compiled)
    assert not found.same
    assert_sums(found, x.values, y.values)
    assert np.flatnonzero(found.errors).tolist() == [399]
