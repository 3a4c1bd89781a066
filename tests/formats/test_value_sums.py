"""Sums over stored values against plain numpy, for every type, odd values, and with and without the compiled loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_aprqa.formats import value_sums
from pytest_aprqa.formats.blocks import BLOCKS, tensor_nbytes
from pytest_aprqa.formats.codecs import DECODABLE, decode, encode
from pytest_aprqa.formats.column_decoders import COLUMN_DECODERS
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.value_sums import PIECE, ValueSums, sums_of, sums_of_values


@pytest.fixture(params=["numpy", "numpy 1", "compiled"])
def path(request, monkeypatch):
    """The ways to the same figures; the compiled one from the first value on."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="numba is not installed: pip install pytest-aprqa[fast]")
        monkeypatch.setattr(value_sums, "_WORTH_COMPILING", 1)
    else:
        monkeypatch.setattr(value_sums, "_compiled", lambda: None)
    if request.param == "numpy 1":
        monkeypatch.delattr(np, "vecdot", raising=False)


def raw_of(dtype, values):
    return np.frombuffer(encode(dtype, values), np.uint8)


def assert_sums(sums, values):
    flat = values.reshape(-1)
    finite = flat[np.isfinite(flat)].astype(np.float64)
    assert (sums.count, sums.nans) == (flat.size, int(np.isnan(flat).sum()))
    assert (sums.infinities, sums.zeros) == (int(np.isinf(flat).sum()), int((flat == 0).sum()))
    if finite.size:
        assert (sums.minimum, sums.maximum) == (finite.min(), finite.max())
        size = np.abs(finite).max()
        assert sums.mean == pytest.approx(finite.mean(), rel=1e-5, abs=1e-6 * size)
        assert sums.std == pytest.approx(finite.std(), rel=1e-4, abs=1e-7 * size)
    else:
        assert (sums.minimum, sums.maximum, sums.mean, sums.std) == (math.inf, -math.inf, 0, 0)


@pytest.mark.parametrize("dtype", sorted(COLUMN_DECODERS))
def test_columns_are_the_rows_of_the_decoder_bit_for_bit(dtype):
    raw = np.random.default_rng(1).integers(0, 256, (700, BLOCKS[dtype][1]), np.uint8)
    with np.errstate(all="ignore"):
        columns = np.ascontiguousarray(COLUMN_DECODERS[dtype](raw).T)
    rows = decode(dtype, raw.reshape(-1), (700, 256))
    np.testing.assert_array_equal(columns.view(np.uint32), rows.view(np.uint32))


@pytest.mark.parametrize("dtype", sorted(DECODABLE - {"BOOL"}))
@pytest.mark.parametrize("shape", [(3, 512), (5, 300), (1,), (0, 4), ()])
def test_any_bytes_of_any_type(path, dtype, shape):
    raw = np.random.default_rng(2).integers(0, 256, tensor_nbytes(dtype, shape), np.uint8)
    with np.errstate(all="ignore"):
        if dtype in ("F64", "F32", "BF16"):  # random exponents hide all but the largest value
            raw = raw_of(dtype, np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)).copy()
        assert_sums(sums_of(dtype, raw, shape), decode(dtype, raw, shape))


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
@pytest.mark.parametrize("threads", [1, 3])
def test_tensors_of_many_pieces_and_threads(path, dtype, threads, monkeypatch):
    monkeypatch.setattr(value_sums, "_PER_THREAD", 1 << 16)
    values = np.random.default_rng(4).normal(0.001, 0.02, (2 * PIECE // 512 + 3, 512)).astype(np.float32)
    values[0, :7] = 0
    raw = raw_of(dtype, values)
    assert_sums(sums_of(dtype, raw, values.shape, threads), decode(dtype, raw, values.shape))


@settings(deadline=None, max_examples=60)
@given(
    values=arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)),
    dtype=st.sampled_from(["F32", "BF16"]),
)
def test_odd_values_are_counted_and_left_out(values, dtype):
    raw = raw_of(dtype, values)
    with np.errstate(all="ignore"):
        sums, stored = sums_of(dtype, raw, values.shape), decode(dtype, raw, values.shape)
    finite = stored[np.isfinite(stored)].astype(np.float64)
    assert (sums.count, sums.nans, sums.finite) == (values.size, int(np.isnan(stored).sum()), finite.size)
    assert sums.zeros == int((stored == 0).sum())
    if finite.size:
        assert (sums.minimum, sums.maximum) == (finite.min(), finite.max())
        assert sums.mean == pytest.approx(finite.mean(), rel=1e-4, abs=1e-6 * np.abs(finite).max())


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize(
    "odd",
    [[np.nan], [np.inf, -np.inf], [-np.nan], [0.0, -0.0], [-0.0] * 3, [3e38, -3e38], [1e-40], []],
    ids=repr,
)
@pytest.mark.parametrize("sign", [1, -1, 0])
def test_odd_values_among_many(path, dtype, odd, sign):
    values = np.random.default_rng(5).normal(0, 1, 5000).astype(np.float32)
    if sign:
        values = sign * np.abs(values)
    values[100 : 100 + len(odd)] = odd
    raw = raw_of(dtype, values)
    with np.errstate(all="ignore"):
        assert_sums(sums_of(dtype, raw, (5000,)), decode(dtype, raw, (5000,)))


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_large_mean_does_not_hide_the_spread(path, dtype):
    values = np.random.default_rng(6).normal(1000, 8, 50_000).astype(np.float32)
    raw = raw_of(dtype, values)
    stored = decode(dtype, raw, values.shape).astype(np.float64)
    assert sums_of(dtype, raw, values.shape).std == pytest.approx(stored.std(), rel=1e-9)


def test_merging_is_the_whole():
    values = np.random.default_rng(7).normal(3, 1, 1000).astype(np.float32)
    values[[3, 500]] = np.nan, np.inf
    assert_sums(sums_of_values(values[:10]).merged(sums_of_values(values[10:])), values)
    assert ValueSums().merged(ValueSums()) == ValueSums()
    assert sums_of_values(values).merged(ValueSums()) == sums_of_values(values)


def test_an_open_file_gives_the_sums_of_a_tensor(tmp_path):
    values = np.random.default_rng(8).normal(0, 1, (4, 256)).astype(np.float32)
    rows = [("a", "Q4_K", (4, 256), encode("Q4_K", values)), ("b", "IQ1_S", (1, 256), bytes(50))]
    with GgufFile(write_gguf(tmp_path / "m.gguf", "llama", [], rows)) as file:
        assert_sums(file.sums("a"), file.read("a"))
        with pytest.raises(FormatError, match="cannot decode IQ1_S"):
            file.sums("b")


def test_types_without_decoder_and_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="cannot decode IQ1_S"):
        sums_of("IQ1_S", np.zeros(50, np.uint8), (256,))
    with pytest.raises(ValueError, match="takes 8 bytes, found 7"):
        sums_of("F32", np.zeros(7, np.uint8), (2,))
