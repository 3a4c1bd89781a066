"""Decoders of the 256-element K types: one function per type, (blocks, bytes) uint8 -> (blocks, 256) float32.

Layouts and operation order follow ggml's reference code (`ggml-quants.c`), so results equal the gguf package's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.block_quants import half

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_PAIR_SHIFTS: Final = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)


def _two_bits(raw: Bytes) -> Bytes:
    """(blocks, 64) -> (blocks, 16, 16): two halves of 32 bytes, each gives its lowest bit pairs first."""
    return ((raw.reshape(-1, 2, 1, 32) >> _PAIR_SHIFTS) & np.uint8(3)).reshape(-1, 16, 16)


def decode_q2_k(blocks: Bytes) -> Floats:
    """84 bytes: 16 scale/minimum nibbles, 64 bytes of bit pairs, f16 d, f16 dmin; d*scale*code - dmin*minimum."""
    nibbles = blocks[:, :16]
    scale = half(blocks[:, 80:82]) * (nibbles & np.uint8(15)).astype(np.float32)
    minimum = half(blocks[:, 82:84]) * (nibbles >> np.uint8(4)).astype(np.float32)
    codes = _two_bits(blocks[:, 16:80]).astype(np.float32)
    values: Floats = (scale[:, :, None] * codes - minimum[:, :, None]).reshape(-1, 256)
    return values


def decode_q3_k(blocks: Bytes) -> Floats:
    """110 bytes: 32 bytes of third bits, 64 of bit pairs, 12 of packed 6-bit scales, f16 d; d*(scale - 32)*code.

    A third bit that is not set takes 4 from the code.
    """
    packed = blocks[:, 96:108]
    low = (packed[:, None, :8] >> np.array([0, 4], np.uint8).reshape(1, 2, 1)).reshape(-1, 16) & np.uint8(15)
    high = (packed[:, None, 8:] >> _PAIR_SHIFTS[0]).reshape(-1, 16) & np.uint8(3)
    scales = (low | (high << np.uint8(4))).view(np.int8) - np.int8(32)
    scale = half(blocks[:, 108:110]) * scales.astype(np.float32)
    third = (blocks[:, None, :32] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)) & np.uint8(1)
    taken = ((third ^ np.uint8(1)) << np.uint8(2)).reshape(-1, 16, 16)
    codes = _two_bits(blocks[:, 32:96]).view(np.int8) - taken.view(np.int8)
    values: Floats = (scale[:, :, None] * codes.astype(np.float32)).reshape(-1, 256)
    return values


def _scales_and_mins(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Twelve bytes -> eight 6-bit scales and eight 6-bit minimums (apr-format 5.4)."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    low, high, six = np.uint8(15), np.uint8(4), np.uint8(63)
    scales = np.concatenate([first & six, (third & low) | ((first >> np.uint8(6)) << high)], axis=1)
    mins = np.concatenate([second & six, (third >> high) | ((second >> np.uint8(6)) << high)], axis=1)
    return scales, mins


def _k_affine(blocks: Bytes, codes: Bytes) -> Floats:
    """Apply the super-block scales of Q4_K and Q5_K to CODES (blocks, 8, 32)."""
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    scale = half(blocks[:, 0:2]) * scales.astype(np.float32)
    minimum = half(blocks[:, 2:4]) * mins.astype(np.float32)
    return (scale[:, :, None] * codes.astype(np.float32) - minimum[:, :, None]).reshape(-1, 256)


def _group_nibbles(raw: Bytes) -> Bytes:
    """(blocks, 128) -> (blocks, 8, 32): four groups of 32 bytes, low nibbles before high nibbles."""
    groups = raw.reshape(-1, 4, 1, 32)
    return np.concatenate([groups & np.uint8(15), groups >> np.uint8(4)], axis=2).reshape(-1, 8, 32)


def decode_q4_k(blocks: Bytes) -> Floats:
    """144 bytes: f16 d, f16 dmin, 12 packed scales, 128 bytes of nibbles; value = d*scale*code - dmin*minimum."""
    return _k_affine(blocks, _group_nibbles(blocks[:, 16:]))


def decode_q5_k(blocks: Bytes) -> Floats:
    """176 bytes: as Q4_K with 32 bytes of fifth bits before the nibbles; bit j of a byte belongs to sub-block j."""
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    fifth = ((blocks[:, None, 16:48] >> shifts) & np.uint8(1)) << np.uint8(4)
    return _k_affine(blocks, _group_nibbles(blocks[:, 48:]) | fifth)


def decode_q6_k(blocks: Bytes) -> Floats:
    """210 bytes: 128 low nibbles, 64 bytes of high bit pairs, 16 signed scales, f16 d; value = d*scale*(code - 32)."""
    low = blocks[:, :128].reshape(-1, 2, 64)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    nibbles = np.concatenate([low & np.uint8(15), low >> np.uint8(4)], axis=2).reshape(-1, 2, 4, 32)
    codes = (nibbles | ((high & np.uint8(3)) << np.uint8(4))).view(np.int8) - np.int8(32)
    scales = half(blocks[:, 208:210]) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    values: Floats = (scales[:, :, None] * codes.reshape(-1, 16, 16).astype(np.float32)).reshape(-1, 256)
    return values


def decode_q8_k(blocks: Bytes) -> Floats:
    """292 bytes: f32 scale, 256 signed codes, 16 sums of codes that decoding does not need; value = scale * code."""
    scale = np.ascontiguousarray(blocks[:, :4]).view("<f4").astype(np.float32)
    return np.asarray(scale * blocks[:, 4:260].view(np.int8).astype(np.float32), dtype=np.float32)


DECODERS: Final[dict[str, Callable[[Bytes], Floats]]] = {
    "Q2_K": decode_q2_k,
    "Q3_K": decode_q3_k,
    "Q4_K": decode_q4_k,
    "Q5_K": decode_q5_k,
    "Q6_K": decode_q6_k,
    "Q8_K": decode_q8_k,
}
