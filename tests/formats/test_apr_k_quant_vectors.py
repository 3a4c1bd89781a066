"""Published vectors of Q4_K and Q6_K: blocks as the reference encoder of APR makes them, decoded by us.

The encoder is written here from its description (container description, 5.4 and 5.5) and checked by the published
digest of its block; it is not the product's, whose blocks have less error.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.block_quants import round_half_away

FLOOR = np.float32(6.1e-5)
VALUES = (((37 * np.arange(256)) % 256 - 128) / 128).astype(np.float32)


def half(value: np.float32) -> bytes:
    return np.array([value], "<f2").tobytes()


def reference_q4_k(values: np.ndarray) -> bytes:
    blocks = values.reshape(8, 32)
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    scales = np.maximum((high - low) / np.float32(15), FLOOR).astype(np.float32)
    mins = np.maximum(-low, 0).astype(np.float32)
    d, dmin = (max(np.float32(x.max() / np.float32(63)), FLOOR) for x in (scales, mins))
    sc = np.minimum(63, round_half_away(scales / d)).astype(np.uint8)
    m = np.minimum(63, round_half_away(mins / dmin)).astype(np.uint8)
    step = d * sc.astype(np.float32)
    codes = np.clip(round_half_away((blocks + (dmin * m)[:, None]) / step[:, None]), 0, 15).astype(np.uint8)
    packed = np.zeros(12, np.uint8)
    for j in range(4):
        packed[j] = sc[j] | (sc[j + 4] >> 4) << 6
        packed[j + 4] = m[j] | (m[j + 4] >> 4) << 6
        packed[j + 8] = (sc[j + 4] & 15) | (m[j + 4] & 15) << 4
    nibbles = np.concatenate([codes[2 * g] | codes[2 * g + 1] << 4 for g in range(4)])
    return half(d) + half(dmin) + packed.tobytes() + nibbles.tobytes()


def reference_q6_k(values: np.ndarray) -> bytes:
    groups = values.reshape(16, 16)
    scales = np.maximum(np.abs(groups).max(axis=1) / np.float32(31), FLOOR).astype(np.float32)
    d = max(np.float32(scales.max() / np.float32(127)), FLOOR)
    s8 = round_half_away(scales / d).astype(np.int8)
    inverse = np.float32(1) / (d * s8.astype(np.float32))
    codes = np.clip(round_half_away(groups * inverse[:, None]), -32, 31).astype(np.int8) + np.int8(32)
    quarters = codes.view(np.uint8).reshape(2, 4, 32)  # of each half: elements l, l + 32, l + 64, l + 96
    low = np.concatenate(
        [np.concatenate([h[0] & 15 | (h[2] & 15) << 4, h[1] & 15 | (h[3] & 15) << 4]) for h in quarters]
    )
    high = np.concatenate([h[0] >> 4 | (h[1] >> 4) << 2 | (h[2] >> 4) << 4 | (h[3] >> 4) << 6 for h in quarters])
    return low.tobytes() + high.tobytes() + s8.tobytes() + half(d)


@pytest.mark.parametrize(
    ("dtype", "block", "start", "digest", "error"),
    [
        (
            "Q4_K",
            reference_q4_k(VALUES),
            "49 18 10 24 fa fa ff fa ff f8 fe fd 5a ff aa 39 90 c2 e5 07",
            "4657d8926be9c4b47e6dacf848701073e2e0d6372aa646ad54f222cf08c86c1e",
            0.0624,
        ),
        (
            "Q6_K",
            reference_q6_k(VALUES),
            "01 9a 33 cc 55 ee 77 12",
            "ca886fa11920247b29f218695873795bd8f7c6da08a594f3852f0b9a3505099f",
            0.0161,
        ),
    ],
    ids=["Q4_K", "Q6_K"],
)
def test_the_published_block_decodes_with_the_published_error(
    dtype: str, block: bytes, start: str, digest: str, error: float
) -> None:
    assert block.hex(" ").startswith(start)
    assert hashlib.sha256(block).hexdigest() == digest
    found = np.abs(codecs.decode(dtype, np.frombuffer(block, np.uint8), (256,)) - VALUES).max()
    assert round(float(found), 4) == error
    ours = np.frombuffer(codecs.encode(dtype, VALUES), np.uint8)
    assert ((codecs.decode(dtype, ours, (256,)) - VALUES) ** 2).sum() <= (
        (codecs.decode(dtype, np.frombuffer(block, np.uint8), (256,)) - VALUES) ** 2
    ).sum()


@pytest.mark.parametrize("dtype", ["Q4_K", "Q6_K"])
def test_an_all_positive_ramp_does_not_saturate(dtype: str) -> None:
    """The reference encoder drops the offset of such blocks without widening the scale: errors up to 0.75 there."""
    ramp = np.linspace(0.5, 1, 256, dtype=np.float32)
    ours = codecs.decode(dtype, np.frombuffer(codecs.encode(dtype, ramp), np.uint8), (256,))
    assert np.abs(ours - ramp).max() < 0.04
    if dtype == "Q4_K":
        theirs = codecs.decode(dtype, np.frombuffer(reference_q4_k(ramp), np.uint8), (256,))
        assert np.abs(theirs - ramp).max() > 0.4
