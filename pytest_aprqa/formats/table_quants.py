"""Decoders of the types whose codes index a small table of values: IQ4_NL, IQ4_XS, MXFP4, and the ternary TQ1_0, TQ2_0.

Tables and layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`); MXFP4 is OCP microscaling formats 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.block_quants import half

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Values of the 16 codes of IQ4_NL and IQ4_XS (`kvalues_iq4nl`).
IQ4_VALUES: Final = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)
#: Twice the values of E2M1, which the scale of MXFP4 halves again (`kvalues_mxfp4`).
E2M1_DOUBLED: Final = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32)
_POWERS_OF_THREE: Final = np.array([1, 3, 9, 27, 81], np.uint8)


def _nibbles(raw: Bytes, group: int) -> Bytes:
    """(blocks, n) -> (blocks, 2n): per GROUP bytes all low nibbles, then all high nibbles."""
    groups = raw.reshape(raw.shape[0], -1, 1, group)
    return np.concatenate([groups & np.uint8(15), groups >> np.uint8(4)], axis=2).reshape(raw.shape[0], -1)


def decode_iq4_nl(blocks: Bytes) -> Floats:
    """18 bytes: f16 scale, 16 bytes of codes; value = scale * table[code]."""
    return half(blocks[:, :2]) * IQ4_VALUES[_nibbles(blocks[:, 2:], 16)]


def decode_iq4_xs(blocks: Bytes) -> Floats:
    """136 bytes: f16 d, 8 high bit pairs and 8 low nibbles of scales, 128 bytes; d*(scale - 32)*table[code]."""
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16)
    low = np.stack([blocks[:, 4:8] & np.uint8(15), blocks[:, 4:8] >> np.uint8(4)], axis=2).reshape(-1, 8)
    scales = (low | ((high.astype(np.uint8) & np.uint8(3)) << np.uint8(4))).view(np.int8) - np.int8(32)
    scale = half(blocks[:, :2]) * scales.astype(np.float32)
    values: Floats = scale[:, :, None] * IQ4_VALUES[_nibbles(blocks[:, 8:], 16)].reshape(-1, 8, 32)
    return values.reshape(-1, 256)


def decode_mxfp4(blocks: Bytes) -> Floats:
    """17 bytes: power-of-two scale (E8M0), 16 bytes of E2M1 codes; value = 2^(scale - 128) * doubled E2M1.

    Scales 0 and 1 are the subnormal float32 2^-128 and 2^-127, as ggml has them; 255 is 2^127 there, not NaN.
    """
    exponents = blocks[:, :1].astype(np.uint32)
    bits = np.where(exponents < 2, np.uint32(0x00200000) << exponents, (exponents - np.uint32(1)) << np.uint32(23))
    return bits.view(np.float32) * E2M1_DOUBLED[_nibbles(blocks[:, 1:], 16)]


def _trits(raw: Bytes, digits: int) -> Bytes:
    """(blocks, n) -> (blocks, digits * n): the most significant base-3 digits of each byte as a fraction of 256."""
    shifted = raw[:, None, :] * _POWERS_OF_THREE[:digits].reshape(1, -1, 1)
    return ((shifted.astype(np.uint16) * np.uint16(3)) >> np.uint16(8)).astype(np.uint8).reshape(raw.shape[0], -1)


def decode_tq1_0(blocks: Bytes) -> Floats:
    """54 bytes: 32 and 16 bytes of five base-3 digits, 4 bytes of four, f16 scale; value = scale * (digit - 1)."""
    parts = [_trits(blocks[:, :32], 5), _trits(blocks[:, 32:48], 5), _trits(blocks[:, 48:52], 4)]
    codes = np.concatenate(parts, axis=1).view(np.int8) - np.int8(1)
    return half(blocks[:, 52:54]) * codes.astype(np.float32)


def decode_tq2_0(blocks: Bytes) -> Floats:
    """66 bytes: two groups of 32 bytes of bit pairs, lowest pairs first, f16 scale; value = scale * (code - 1)."""
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    codes = ((blocks[:, :64].reshape(-1, 2, 1, 32) >> shifts) & np.uint8(3)).reshape(-1, 256)
    return half(blocks[:, 64:66]) * (codes.view(np.int8) - np.int8(1)).astype(np.float32)


DECODERS: Final[dict[str, Callable[[Bytes], Floats]]] = {
    "IQ4_NL": decode_iq4_nl,
    "IQ4_XS": decode_iq4_xs,
    "MXFP4": decode_mxfp4,
    "TQ1_0": decode_tq1_0,
    "TQ2_0": decode_tq2_0,
}
