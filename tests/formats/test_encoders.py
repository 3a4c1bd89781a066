"""Encoders of the ggml block types: error against the format's own step, extremes, layout; Q8_0 bit for bit."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_aprqa.formats.block_encoders import ENCODERS, LARGEST
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.codecs import decode, encode
from tests.formats.outlier_tensors import ROUNDING, outlier_tensors

TYPES = sorted(ENCODERS)
SEARCHED = sorted(set(TYPES) - {"Q8_0"})
#: NMSE of llama.cpp's own quantiser on `tensors()`, written by tests/llama_cpp/test_quantiser.py's reference call.
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "llama_cpp_quantiser_nmse.json").read_text())
LLAMA_CPP, OUTLIERS = RECORDED["nmse"], RECORDED["outliers"]


def there_and_back(dtype, values):
    raw = np.frombuffer(encode(dtype, values), np.uint8)
    return decode(dtype, raw, values.shape)


def nmse(dtype, values):
    wide = values.astype(np.float64)
    return float(((there_and_back(dtype, values) - wide) ** 2).sum() / (wide**2).sum())


def tensors():
    random = np.random.default_rng(20)
    gauss = random.normal(0, 0.02, (32, 512))
    return {
        "gauss": gauss.astype(np.float32),
        "laplace": random.laplace(0, 0.02, (32, 512)).astype(np.float32),
        "heavy tails": random.standard_t(2, (32, 512)).astype(np.float32),
        "uniform": random.uniform(-1, 1, (32, 512)).astype(np.float32),
        "all positive": random.uniform(0.5, 1, (32, 512)).astype(np.float32),
        "all negative": -random.uniform(0.5, 1, (32, 512)).astype(np.float32),
        "sparse": np.where(random.random((32, 512)) < 0.1, random.normal(0, 1, (32, 512)), 0).astype(np.float32),
    }


@pytest.mark.parametrize("dtype", TYPES)
def test_zeros_stay_zeros_and_nothing_warns(dtype, recwarn):
    values = np.zeros((2, 256), np.float32)
    assert not there_and_back(dtype, values).any()
    values[0, 3] = 1
    assert not there_and_back(dtype, values)[1].any()
    assert not recwarn.list


@pytest.mark.parametrize("dtype", TYPES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_value_is_further_off_than_two_steps_of_its_block(dtype, data):
    values = data.draw(arrays.arrays(np.float32, (2, 256), elements=st.floats(-1e3, 1e3, width=32)))
    back = there_and_back(dtype, values)
    codes = {"Q4": 15, "Q5": 31, "Q6": 63, "Q8": 254}[dtype[:2]]
    blocks = (values.reshape(-1, BLOCKS[dtype][0]), back.reshape(-1, BLOCKS[dtype][0]))
    span = np.maximum(blocks[0].max(axis=1), 0) - np.minimum(blocks[0].min(axis=1), 0)
    # Below the smallest binary16 step a scale is nothing: such values may vanish.
    step = 2 * np.maximum(np.abs(blocks[0]).max(axis=1) * 2, span) / codes + 63 * codes * 6e-8
    assert (np.abs(blocks[1] - blocks[0]).max(axis=1) <= step).all()


@pytest.mark.parametrize("dtype", SEARCHED)
@pytest.mark.parametrize("name", sorted(tensors()))
def test_error_is_that_of_the_number_of_bits(dtype, name):
    # Uniform rounding error is step^2 / 12; one step is the span of a block over the number of codes.
    values = tensors()[name]
    width = {"Q6_K": 16}.get(dtype, 32)
    blocks = values.reshape(-1, width).astype(np.float64)
    if dtype.endswith("_0") or dtype == "Q6_K":
        span = 2 * np.abs(blocks).max(axis=1)
    else:
        span = np.maximum(blocks.max(axis=1), 0) - np.minimum(blocks.min(axis=1), 0)
    codes = {"4": 15, "5": 31, "6": 63}[dtype[1]]
    rounding = width * float(((span / codes) ** 2 / 12).sum()) / float((blocks**2).sum())
    assert nmse(dtype, values) <= rounding * (1.25 if dtype.endswith("K") else 1.0)


@pytest.mark.parametrize("dtype", SEARCHED)
@pytest.mark.parametrize("name", sorted(tensors()))
def test_error_is_no_larger_than_that_of_llama_cpp(dtype, name):
    assert nmse(dtype, tensors()[name]) <= LLAMA_CPP[dtype][name]


@pytest.mark.parametrize("dtype", TYPES)
def test_error_on_outliers_is_no_larger_than_that_of_llama_cpp(dtype):
    """But for what rounding to binary16 makes of values that both would hit exactly."""
    recorded = OUTLIERS[dtype]
    assert set(recorded) == set(outlier_tensors())
    for name, values in outlier_tensors().items():
        assert nmse(dtype, values) <= recorded[name] + ROUNDING, name


@pytest.mark.parametrize("dtype", ["Q4_K", "Q5_K", "Q6_K"])
def test_k_types_are_clearly_better_where_the_search_pays(dtype):
    assert nmse(dtype, tensors()["gauss"]) < 0.97 * LLAMA_CPP[dtype]["gauss"]


@pytest.mark.parametrize("dtype", ["Q4_1", "Q5_1", "Q4_K", "Q5_K"])
def test_two_values_are_hit_up_to_one_rounding(dtype):
    """All sub-blocks of such a tensor must choose the same of the scales that fit them."""
    assert nmse(dtype, outlier_tensors()["signs"]) < 5e-7


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_scaled_tensor_has_the_same_relative_error(dtype, scale):
    values = tensors()["gauss"] * 50
    assert nmse(dtype, (values * np.float32(scale)).astype(np.float32)) == pytest.approx(nmse(dtype, values), rel=0.1)


@pytest.mark.parametrize("dtype", TYPES)
def test_values_up_to_the_limit_stay_finite_and_beyond_are_refused(dtype, recwarn):
    random = np.random.default_rng(21)
    values = (random.uniform(-1, 1, (4, 256)) * LARGEST[dtype]).astype(np.float32)
    values[:, 0], values[:, 1] = LARGEST[dtype], -LARGEST[dtype]
    assert np.isfinite(there_and_back(dtype, values)).all()
    assert nmse(dtype, values) < 0.02
    for bad in (np.nan, np.inf, -np.inf, np.nextafter(np.float32(LARGEST[dtype]), np.float32(np.inf))):
        values[3, 7] = bad
        with pytest.raises(ValueError, match=f"{dtype} holds finite values"):
            encode(dtype, values)
    assert not recwarn.list


@pytest.mark.parametrize("dtype", TYPES)
def test_values_too_small_for_binary16_become_zero_without_a_warning(dtype, recwarn):
    for tiny in (1e-12, 1e-30, 1e-44):
        values = np.random.default_rng(22).normal(0, tiny, (2, 256)).astype(np.float32)
        assert np.abs(there_and_back(dtype, values)).max() <= 1e-6
    assert not recwarn.list


@pytest.mark.parametrize("dtype", TYPES)
def test_encoding_again_what_was_decoded_changes_almost_nothing(dtype):
    once = there_and_back(dtype, tensors()["gauss"])
    assert nmse(dtype, once) < 0.2 * nmse(dtype, tensors()["gauss"])


@pytest.mark.parametrize("dtype", TYPES)
def test_large_tensors_are_encoded_in_chunks_with_the_same_bytes(dtype):
    values = np.random.default_rng(23).normal(0, 1, (300, 512)).astype(np.float32)
    whole = encode(dtype, values)
    assert whole == b"".join(encode(dtype, row) for row in values)
    assert whole == encode(dtype, values.astype(np.float64))
    assert encode(dtype, np.empty((0, 256), np.float32)) == b""


@settings(deadline=None)
@given(arrays.arrays(np.int16, (2, 64), elements=st.integers(-254, 254)))
def test_q8_0_rounds_halves_as_the_gguf_package_does(doubled):
    values = doubled.astype(np.float32) / 2
    values[:, ::32] = 127  # scale 1: every odd number above is a tie
    assert encode("Q8_0", values) == gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0).tobytes()
