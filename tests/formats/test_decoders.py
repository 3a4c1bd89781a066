"""Every decodable ggml type against the gguf package, bit for bit, on any bytes: NaN, infinite and subnormal scales."""

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.codecs import DECODABLE, QUANTISED, decode
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_types import TENSOR_TYPE_IDS, TENSOR_TYPES
from pytest_aprqa.formats.gguf_writer import write_gguf

SMALL = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4"]
LARGE = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "TQ1_0", "TQ2_0"]
NOT_DECODED = ["Q8_1", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ3_S", "IQ2_S", "IQ1_M", "NVFP4", "Q1_0", "Q2_0"]


def assert_equal_bits(dtype, raw):
    blocks, width = raw.shape[0], BLOCKS[dtype][0]
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[dtype]).reshape(blocks, width)
    ours = decode(dtype, raw.reshape(-1), (blocks, width))
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("dtype", SMALL + LARGE)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_bytes_decode_as_the_gguf_package_does(dtype, data):
    shape = (data.draw(st.integers(1, 5)), BLOCKS[dtype][1])
    assert_equal_bits(dtype, data.draw(arrays.arrays(np.uint8, shape)))


@pytest.mark.parametrize("dtype", SMALL + LARGE)
def test_many_random_blocks_decode_as_the_gguf_package_does(dtype):
    raw = np.random.default_rng(11).integers(0, 256, (3000, BLOCKS[dtype][1]), np.uint8)
    assert_equal_bits(dtype, raw)


@pytest.mark.parametrize("half", [0x7C00, 0xFC00, 0x7C01, 0x7E00, 0xFFFF, 0x0001, 0x8000, 0x0000])
@pytest.mark.parametrize("dtype", [dtype for dtype in SMALL + LARGE if dtype != "MXFP4"])
def test_odd_scales_keep_their_bits(dtype, half):
    raw = np.random.default_rng(12).integers(0, 256, (4, BLOCKS[dtype][1]), np.uint8)
    ends = {"Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64]}
    for at in ends.get(dtype, [0]):
        raw[:, at : at + 2] = np.array([half], "<u2").view(np.uint8)
    assert_equal_bits(dtype, raw)


def test_q8_k_is_scale_times_code_and_its_sums_are_not_used():
    codes = np.arange(-128, 128, dtype=np.int8)
    raw = np.concatenate([np.array([0.25], "<f4").view(np.uint8), codes.view(np.uint8), np.full(32, 255, np.uint8)])
    np.testing.assert_array_equal(decode("Q8_K", raw, (1, 256)), codes[None].astype(np.float32) / 4)


def test_every_ggml_type_is_either_decoded_or_refused_by_name():
    known = set(TENSOR_TYPES.values())
    assert set(NOT_DECODED) == known - DECODABLE
    assert set(NOT_DECODED) <= QUANTISED
    assert known & DECODABLE >= {*SMALL, *LARGE, "Q8_K", "F16", "BF16", "F32", "F64", "I8", "I16", "I32", "I64"}


@pytest.mark.parametrize("dtype", NOT_DECODED)
def test_a_type_without_decoder_is_named_never_garbage(dtype, tmp_path):
    width, size = BLOCKS[dtype]
    with pytest.raises(ValueError, match=f"cannot decode {dtype};"):
        decode(dtype, np.zeros(size, np.uint8), (1, width))
    if gguf.GGML_QUANT_SIZES.get(TENSOR_TYPE_IDS[dtype]) == (width, size):  # the package does not know the newest
        path = write_gguf(tmp_path / "m.gguf", "llama", [], [("w", dtype, (1, width), bytes(size))])
        with GgufFile(path) as file, pytest.raises(FormatError, match=f"tensor 'w': cannot decode {dtype}"):
            file.read("w")
