"""Codecs against the gguf package, the published APR vectors, and exact arithmetic."""

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_aprqa.formats.blocks import BLOCKS, QUANTISED, tensor_nbytes
from pytest_aprqa.formats.codecs import (
    DECODABLE,
    decode,
    decode_pieces,
    encode,
    from_bfloat16,
    from_half,
    to_bfloat16,
)

GGML = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
FLOATS = st.floats(-1e4, 1e4, width=32).map(lambda x: x if abs(x) > 1e-30 else 0.0)


def as_bytes(raw):
    return np.frombuffer(raw, np.uint8)


def noise(dtype, blocks):
    """Random blocks whose scales are finite, as real files have them."""
    raw = np.random.default_rng(7).integers(0, 256, (blocks, BLOCKS[dtype][1]), np.uint8)
    columns = {"Q6_K": [209], "Q4_1": [1, 3], "Q5_1": [1, 3], "Q4_K": [1, 3], "Q5_K": [1, 3]}.get(dtype, [1])
    raw[:, columns] &= 0xBB
    return raw


def test_every_half_is_converted_as_numpy_does():
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = bits.view("<f2")
    finite = halves[np.isfinite(halves)]
    for part in (halves, finite, finite[finite >= 0], finite[:4096], finite[:4095], halves[:4096], halves[:0]):
        expected = part.astype(np.float32)
        assert np.array_equal(from_half(part).view(np.uint32), expected.view(np.uint32))
    assert np.isinf(from_half(halves[bits == 0x7C00])).all()
    assert np.isnan(from_half(halves[bits == 0xFC01])).all()


@pytest.mark.parametrize("dtype", GGML)
def test_decoding_equals_the_gguf_package_bit_for_bit(dtype):
    raw = noise(dtype, 64)
    width = BLOCKS[dtype][0]
    ours = decode(dtype, raw.reshape(-1), (64, width))
    theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[dtype])
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.reshape(64, width).view(np.uint32))


@pytest.mark.parametrize("dtype", sorted(set(BLOCKS) & set(gguf.GGMLQuantizationType.__members__) - {"Q8_1"}))
def test_block_sizes_are_those_of_the_gguf_package(dtype):
    assert BLOCKS[dtype] == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dtype]]


@given(arrays.arrays(np.float32, (3, 64), elements=FLOATS))
def test_q8_0_encoding_equals_the_gguf_package(values):
    theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    assert encode("Q8_0", values) == theirs.tobytes()


@pytest.mark.parametrize(("dtype", "largest"), [("Q8_0", 127 * 65504.0), ("APR_Q4", 7 * 65504.0), ("APR_Q8", 3.4e38)])
def test_quantised_types_refuse_what_a_scale_cannot_hold(dtype, largest, recwarn):
    above = np.inf if dtype == "APR_Q8" else np.nextafter(np.float32(largest), np.float32(np.inf))
    for bad in (np.nan, np.inf, -np.inf, above):
        with pytest.raises(ValueError, match="store the tensor as F32"):
            encode(dtype, np.full(32, bad, np.float32))
    for fine in (largest, 1e-38, 1e-45):
        values = np.full(32, fine, np.float32)
        np.testing.assert_allclose(decode(dtype, as_bytes(encode(dtype, values)), (32,)), values, rtol=0.01, atol=1e-4)
    assert not recwarn.list


@given(arrays.arrays(np.uint32, 64))
def test_bfloat16_rounds_to_nearest_even_and_keeps_nan(bits):
    values = bits.view(np.float32)
    back = from_bfloat16(to_bfloat16(values))
    nan = np.isnan(values)
    assert np.isnan(back[nan]).all()
    theirs = gguf.quants.quantize(np.where(nan, np.float32(0), values), gguf.GGMLQuantizationType.BF16).view(np.uint16)
    np.testing.assert_array_equal(to_bfloat16(np.where(nan, np.float32(0), values)), theirs)


@pytest.mark.parametrize(
    ("bits", "rounded"),
    [
        (0x3F808000, 0x3F80),
        (0x3F808001, 0x3F81),
        (0x3F818000, 0x3F82),
        (0x7F7FFFFF, 0x7F80),
        (0x7F800001, 0x7FC0),
        (0xFF800000, 0xFF80),
    ],
)
def test_bfloat16_halves_and_limits(bits, rounded):
    assert to_bfloat16(np.array([bits], np.uint32).view(np.float32))[0] == rounded


@given(arrays.arrays(np.uint16, 32))
def test_bfloat16_bytes_survive_a_round_trip(bits):
    raw = bits.astype("<u2").tobytes()
    values = decode("BF16", as_bytes(raw), (32,))
    again = np.frombuffer(encode("BF16", values), "<u2")
    nan = np.isnan(values)
    np.testing.assert_array_equal(again[~nan], bits[~nan])


def test_f16_overflow_is_infinity_without_a_warning(recwarn):
    assert np.frombuffer(encode("F16", np.array([1e6, 65519, -1e9], np.float32)), np.float16).tolist() == [
        np.inf,
        65504,
        -np.inf,
    ]
    assert not recwarn.list


def test_published_apr_q8_vector():
    raw = encode("APR_Q8", np.array([1, -2, 3, -4], np.float32))
    assert raw.hex(" ") == "04 02 01 3d 20 c0 5f 81"
    np.testing.assert_allclose(decode("APR_Q8", as_bytes(raw), (4,)), [1, -2, 3, -4], atol=0.016)


def test_published_apr_q4_vector():
    values = (((37 * np.arange(32)) % 32 - 16) / 16).astype(np.float32)
    raw = encode("APR_Q4", values)
    assert raw.hex(" ") == "92 30 31 85 ca 2e 75 b9 1d 64 a8 fc 53 97 eb 42 86 db"
    assert np.abs(decode("APR_Q4", as_bytes(raw), (32,)) - values).max() <= 1 / 7


def test_apr_q4_pads_the_last_block_with_zero_nibbles_and_refuses_odd_scales():
    raw = encode("APR_Q4", np.ones(33, np.float32))
    assert len(raw) == 36
    assert raw[20:] == bytes([0x0F]) + bytes(15)
    assert decode("APR_Q4", as_bytes(raw), (33,)).shape == (33,)
    for bits in (0x7E00, 0x7C00, 0x0003, 0xBC00):
        block = np.array([bits], "<u2").tobytes() + bytes(16)
        assert not decode("APR_Q4", as_bytes(block), (32,)).any()


@pytest.mark.parametrize("dtype", ["APR_Q8", "APR_Q4"])
def test_native_types_of_nothing_and_of_zeros(dtype):
    assert encode(dtype, np.empty(0, np.float32)) == b""
    assert decode(dtype, as_bytes(b""), (0,)).size == 0
    assert not decode(dtype, as_bytes(encode(dtype, np.zeros(40, np.float32))), (40,)).any()


def test_k_quant_matrices_are_padded_row_by_row_and_vectors_flat():
    assert tensor_nbytes("Q4_K", (3, 300)) == 3 * 2 * 144
    assert tensor_nbytes("Q4_K", (900,)) == 4 * 144
    assert tensor_nbytes("Q6_K", (2, 2, 300)) == 5 * 210
    raw = noise("Q4_K", 6).reshape(-1)
    whole = decode("Q4_K", raw, (3, 512))
    np.testing.assert_array_equal(decode("Q4_K", raw, (3, 300)), whole[:, :300])


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("F32", (5, 7)),
        ("BF16", (50,)),
        ("I8", (4, 4)),
        ("BOOL", (9,)),
        ("Q8_0", (3, 64)),
        ("Q4_K", (3, 512)),
        ("Q4_K", (5, 300)),
        ("Q4_K", (900,)),
        ("Q6_K", (5, 20)),
        ("APR_Q4", (3, 33)),
        ("APR_Q8", (7, 9)),
        ("F32", ()),
        ("F32", (0, 3)),
        ("Q4_K", (0, 256)),
        ("Q4_K", (3, 0)),
        ("F8_E4M3", (16, 16)),
        ("F8_E5M2", (16, 16)),
    ],
)
@pytest.mark.parametrize("elements", [1, 100, 1 << 20])
def test_pieces_join_to_the_whole(dtype, shape, elements):
    raw = as_bytes(np.random.default_rng(3).bytes(tensor_nbytes(dtype, shape)))
    whole = decode(dtype, raw, shape)
    assert whole.shape == shape
    assert whole.dtype == np.float32
    pieces = list(decode_pieces(dtype, raw, shape, elements))
    joined = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    np.testing.assert_array_equal(joined, whole.reshape(-1))
    assert all(piece.size <= max(elements, BLOCKS.get(dtype, (1, 0))[0], shape[-1] if shape else 1) for piece in pieces)


@settings(deadline=None)
@given(st.sampled_from(["F8_E4M3", "F8_E5M2"]))
def test_float8_equals_torch(dtype):
    torch = __import__("torch")
    raw = np.arange(256, dtype=np.uint8)
    kind = torch.float8_e4m3fn if dtype == "F8_E4M3" else torch.float8_e5m2
    np.testing.assert_array_equal(
        decode(dtype, raw, (256,)), torch.from_numpy(raw).view(kind).to(torch.float32).numpy()
    )


def test_types_without_codec_and_wrong_sizes_are_refused():
    assert "IQ2_XS" not in DECODABLE
    assert "IQ2_XS" in QUANTISED
    with pytest.raises(ValueError, match="cannot decode IQ2_XS"):
        decode("IQ2_XS", as_bytes(bytes(74)), (256,))
    with pytest.raises(ValueError, match="cannot encode Q2_K"):
        encode("Q2_K", np.zeros(256, np.float32))
    with pytest.raises(ValueError, match="takes 8 bytes, found 7"):
        decode("F32", as_bytes(bytes(7)), (2,))
    with pytest.raises(ValueError, match="multiple of 32"):
        encode("Q8_0", np.zeros((2, 31), np.float32))
