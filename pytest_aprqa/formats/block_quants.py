"""Decoders of the 32-element block types and of APR's own: (blocks, bytes) uint8 -> (blocks, elements) float32.

Layouts and operation order follow ggml's reference code (`ggml-quants.c`), so results equal the gguf package's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SMALLEST_SCALE: Final = 6.1e-5
"""Below this an APR_Q4 block scale counts as zero (apr-format 5.3: about the smallest normal binary16)."""


def half(raw: Bytes) -> Floats:
    """(blocks, 2n) uint8 -> (blocks, n) float32 from binary16."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: Bytes) -> Bytes:
    """(blocks, n) -> (blocks, 2n): all low nibbles first, then all high nibbles."""
    return np.concatenate([raw & np.uint8(15), raw >> np.uint8(4)], axis=1)


def _fifth_bits(raw: Bytes) -> Bytes:
    """(blocks, 4) -> (blocks, 32): the bits of a little-endian u32, moved to bit 4."""
    return np.unpackbits(raw, axis=1, bitorder="little") << np.uint8(4)


def decode_q4_0(blocks: Bytes) -> Floats:
    """18 bytes: f16 scale, 16 bytes of codes; value = scale * (code - 8)."""
    codes = _nibbles(blocks[:, 2:]).view(np.int8) - np.int8(8)
    return half(blocks[:, :2]) * codes.astype(np.float32)


def decode_q4_1(blocks: Bytes) -> Floats:
    """20 bytes: f16 scale, f16 minimum, 16 bytes of codes; value = scale * code + minimum."""
    return half(blocks[:, :2]) * _nibbles(blocks[:, 4:]).astype(np.float32) + half(blocks[:, 2:4])


def decode_q5_0(blocks: Bytes) -> Floats:
    """22 bytes: f16 scale, 32 fifth bits, 16 bytes of low nibbles; value = scale * (code - 16)."""
    codes = (_nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])).view(np.int8) - np.int8(16)
    return half(blocks[:, :2]) * codes.astype(np.float32)


def decode_q5_1(blocks: Bytes) -> Floats:
    """24 bytes: f16 scale, f16 minimum, 32 fifth bits, 16 bytes of low nibbles; value = scale * code + minimum."""
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return half(blocks[:, :2]) * codes.astype(np.float32) + half(blocks[:, 2:4])


def decode_q8_0(blocks: Bytes) -> Floats:
    """34 bytes: f16 scale, 32 signed codes; value = scale * code."""
    values: Floats = blocks[:, 2:].view(np.int8).astype(np.float32)
    values *= half(blocks[:, :2])
    return values


def decode_apr_q4(blocks: Bytes) -> Floats:
    """18 bytes: f16 scale, 16 bytes; byte i holds element 2i low and 2i+1 high; value = scale * (code - 8).

    A scale that is NaN, infinite or below SMALLEST_SCALE counts as 0, as the reference reader does (apr-format 5.3).
    """
    scale = half(blocks[:, :2])
    scale = np.where(np.isfinite(scale) & (scale >= np.float32(SMALLEST_SCALE)), scale, np.float32(0))
    raw = blocks[:, 2:]
    codes = np.stack([raw & np.uint8(15), raw >> np.uint8(4)], axis=2).reshape(-1, 32).view(np.int8) - np.int8(8)
    return np.asarray(scale * codes.astype(np.float32), dtype=np.float32)


def round_half_away(values: NDArray[Any]) -> NDArray[Any]:
    """Round to the nearest integer, halves away from zero (C `roundf`), keeping the float type."""
    whole = np.floor(np.abs(values))
    return np.asarray(np.sign(values) * (whole + np.floor(2 * (np.abs(values) - whole))))


def encode_apr_q8(values: Floats) -> bytes:
    """Flat float32 -> f32 scale (max|x| / 127, 1 when all zero) and one signed byte per element; empty -> no bytes."""
    if values.size == 0:
        return b""
    largest = np.float32(np.abs(values).max())
    scale = np.float32(largest / np.float32(127)) or np.float32(1)
    codes = np.clip(round_half_away(values / scale), -127, 127).astype(np.int8)
    stored: bytes = np.array([scale], "<f4").tobytes() + codes.tobytes()
    return stored


def encode_apr_q4(rows: Floats, count: int) -> bytes:
    """(blocks, 32) zero-padded float32 with COUNT real elements -> 18 bytes per block (apr-format 5.3)."""
    largest = np.abs(rows).max(axis=1, keepdims=True) if rows.size else np.empty((0, 1), np.float32)
    scale = (largest / np.float32(7)).astype(np.float32)
    scale[scale == 0] = 1
    codes = np.clip(round_half_away(rows / scale), -8, 7).astype(np.int8) + np.int8(8)
    flat = codes.reshape(-1).view(np.uint8)
    flat[count:] = 0
    pairs = flat.reshape(-1, 16, 2)
    packed = pairs[:, :, 0] | (pairs[:, :, 1] << np.uint8(4))
    return np.concatenate([scale.astype("<f2").view(np.uint8), packed], axis=1).tobytes()


@cache
def _pairs_of_f4() -> Floats:
    """[256, 2]: both values of each byte. E2M1 of OCP MX 1.0: sign, two bits of exponent (bias 1), one of mantissa."""
    positive = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = np.concatenate([positive, -positive])
    codes = np.arange(256)
    return np.stack([values[codes & 15], values[codes >> 4]], axis=1)


def decode_f4(blocks: Bytes) -> Floats:
    """1 byte: two 4-bit floats, the first in the low bits as in torch's `float4_e2m1fn_x2`."""
    return _pairs_of_f4()[blocks[:, 0]]


@cache
def float8_table(dtype: str) -> Floats:
    """The 256 values of an 8-bit float type.

    F8_E4M3 (finite only, 0x7f = NaN) and F8_E5M2: OCP 8-bit floating point specification 1.0. The FNUZ types have one
    more of bias, no negative zero, no infinity, and 0x80 = NaN. F8_E8M0: powers of two, 0xff = NaN (OCP MX 1.0).
    """
    if dtype == "F8_E8M0":
        return np.where(np.arange(256) == 255, np.nan, np.ldexp(1.0, np.arange(256) - 127)).astype(np.float32)
    unsigned_zero = dtype.endswith("FNUZ")
    exponent_bits, bias = (4, 7) if dtype.startswith("F8_E4M3") else (5, 15)
    mantissa_bits, bias = 7 - exponent_bits, bias + unsigned_zero
    table = np.empty(256, np.float32)
    for code in range(256):
        exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
        fraction = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
        if (unsigned_zero and code == 0x80) or (dtype == "F8_E4M3" and code & 0x7F == 0x7F):
            value = float("nan")
        elif dtype == "F8_E5M2" and exponent == 31:
            value = float("nan") if fraction else float("inf")
        else:
            value = (fraction if exponent == 0 else 1 + fraction) * 2.0 ** (max(exponent, 1) - bias)
        table[code] = -value if code & 0x80 else value
    return table


DECODERS: Final[dict[str, Callable[[Bytes], Floats]]] = {
    "Q4_0": decode_q4_0,
    "Q4_1": decode_q4_1,
    "Q5_0": decode_q5_0,
    "Q5_1": decode_q5_1,
    "Q8_0": decode_q8_0,
    "APR_Q4": decode_apr_q4,
}
