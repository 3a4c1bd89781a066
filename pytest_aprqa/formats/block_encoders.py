"""Encoders of the ggml block types: (blocks, elements) float32 -> (blocks, bytes) uint8; Q8_0 is ggml's rule.

The other codes are found by `scale_search`: the error is no larger than llama.cpp's quantiser's, the bytes are others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.scale_search import (
    best_scale,
    best_scale_and_minimum,
    codes_of,
    neighbours,
    polished,
    squared_error,
)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

LARGEST_HALF: Final = 65504.0
#: How far the end of the code range is moved while searching, in codes.
_SYMMETRIC: Final = tuple(step / 8 for step in range(-7, 8))
_AFFINE: Final = tuple(step / 10 for step in sorted(range(-10, 11), key=abs))
_REFITS: Final = 3
#: Steps of the 6-bit scale and minimum of a sub-block that are tried at the end: both up and both down go together.
_STEPS: Final = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))
_BELOW_HALF: Final = np.nextafter(np.float32(0.5), np.float32(0))
#: Elements per chunk of the search: its arrays stay in the processor's second cache.
_CHUNK: Final = 1 << 16


def _to_half(values: Floats) -> tuple[Bytes, Floats]:
    """[blocks] -> the two bytes of binary16 (never infinite) [blocks, 2], and the values that they mean [blocks]."""
    halves = np.clip(values, -LARGEST_HALF, LARGEST_HALF).astype("<f2")
    return halves.view(np.uint8).reshape(-1, 2), halves.astype(np.float32)


def _columns(rows: Floats) -> Floats:
    """(blocks, elements) -> (elements, blocks), contiguous."""
    return np.ascontiguousarray(rows.T)


def _joined_nibbles(codes: Floats) -> Bytes:
    """(32, blocks) codes -> (blocks, 16): code i low, code i + 16 high."""
    whole = codes.astype(np.uint8) & np.uint8(15)
    return np.ascontiguousarray((whole[:16] | (whole[16:] << np.uint8(4))).T)


def _fifth_bits(codes: Floats) -> Bytes:
    """(32, blocks) codes -> (blocks, 4): bit 4 of each code, element 0 in the lowest bit."""
    return np.packbits((codes.astype(np.uint8) >> np.uint8(4)).T, axis=1, bitorder="little")


def encode_q4_0(rows: Floats) -> Bytes:
    """Symmetric, 16 codes: f16 scale, nibbles."""
    x = _columns(rows)
    halves, scale = _to_half(best_scale(x, -8, 7, _SYMMETRIC))
    return np.concatenate([halves, _joined_nibbles(codes_of(x, scale, None, -8, 7) + np.float32(8))], axis=1)


def encode_q5_0(rows: Floats) -> Bytes:
    """Symmetric, 32 codes: f16 scale, fifth bits, nibbles."""
    x = _columns(rows)
    halves, scale = _to_half(best_scale(x, -16, 15, _SYMMETRIC))
    codes = codes_of(x, scale, None, -16, 15) + np.float32(16)
    return np.concatenate([halves, _fifth_bits(codes), _joined_nibbles(codes)], axis=1)


def encode_q4_1(rows: Floats) -> Bytes:
    """Affine, 16 codes: f16 scale, f16 minimum, nibbles."""
    halves, codes = _affine(rows, 15)
    return np.concatenate([halves, _joined_nibbles(codes)], axis=1)


def encode_q5_1(rows: Floats) -> Bytes:
    """Affine, 32 codes: f16 scale, f16 minimum, fifth bits, nibbles."""
    halves, codes = _affine(rows, 31)
    return np.concatenate([halves, _fifth_bits(codes), _joined_nibbles(codes)], axis=1)


def _affine(rows: Floats, high: int) -> tuple[Bytes, Floats]:
    x = _columns(rows)
    scale, minimum = best_scale_and_minimum(x, high, _AFFINE, not_above_zero=False)
    scale, minimum = polished(x, _to_half(scale)[1], _to_half(minimum)[1], high)
    scale_bytes, minimum_bytes = _to_half(scale)[0], _to_half(minimum)[0]
    return np.concatenate([scale_bytes, minimum_bytes], axis=1), codes_of(x, scale, minimum, 0, high)


def encode_q8_0(rows: Floats) -> Bytes:
    """(blocks, 32) float32 -> (blocks, 34): scale = max|x| / 127, code = round(x / scale), as ggml's reference."""
    largest = np.maximum(rows.max(axis=1, keepdims=True, initial=0), -rows.min(axis=1, keepdims=True, initial=0))
    scale = ((largest + np.float32(0)) / np.float32(127)).astype(np.float32)  # + 0: no negative zero
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    # A scale too small to invert is 0 in binary16 as well: the block is then all zeros.
    codes = rows * np.where(np.isfinite(inverse), inverse, np.float32(0))
    # Halves away from zero: adding the float below one half and cutting is exact where adding one half is not.
    codes += np.copysign(_BELOW_HALF, codes)
    blocks = np.empty((rows.shape[0], 34), np.uint8)
    blocks[:, :2] = scale.astype("<f2").view(np.uint8)
    blocks[:, 2:].view(np.int8)[...] = codes
    return blocks


def encode_q4_k(rows: Floats) -> Bytes:
    """Affine sub-blocks of 32 with 16 codes: f16 d, f16 dmin, packed scales and minimums, nibbles."""
    head, codes = _k_affine(rows, 15)
    return np.concatenate([head, _grouped_nibbles(codes)], axis=1)


def encode_q5_k(rows: Floats) -> Bytes:
    """Affine sub-blocks of 32 with 32 codes: as Q4_K, with the fifth bits before the nibbles."""
    head, codes = _k_affine(rows, 31)
    fifth = ((codes >> np.uint8(4)) << np.arange(8, dtype=np.uint8).reshape(1, 8, 1)).sum(axis=1, dtype=np.uint8)
    return np.concatenate([head, fifth, _grouped_nibbles(codes & np.uint8(15))], axis=1)


def _grouped_nibbles(codes: Bytes) -> Bytes:
    """(blocks, 8, 32) codes -> (blocks, 128): sub-block 2j low, 2j + 1 high."""
    return (codes[:, 0::2] | (codes[:, 1::2] << np.uint8(4))).reshape(-1, 128)


def _k_affine(rows: Floats, high: int) -> tuple[Bytes, Bytes]:
    """(blocks, 256) -> 16 bytes of scales per block, and the codes (blocks, 8, 32)."""
    blocks = rows.shape[0]
    x = _columns(rows.reshape(-1, 32))
    scales, minimums = best_scale_and_minimum(x, high, _AFFINE, not_above_zero=True)
    d, s = _six_bits(scales.reshape(blocks, 8))
    dmin, m = _six_bits(-minimums.reshape(blocks, 8))
    for _ in range(_REFITS):
        d, dmin = _to_half(d)[1], _to_half(dmin)[1]
        codes = codes_of(x, (d[:, None] * s).reshape(-1), -(dmin[:, None] * m).reshape(-1), 0, high)
        d, dmin, s, m = _refit(x, codes, d, dmin, s, m)
    d, dmin, s, m = _polished_k(x, _to_half(d)[1], _to_half(dmin)[1], s, m, high)
    codes = codes_of(x, (d[:, None] * s).reshape(-1), -(dmin[:, None] * m).reshape(-1), 0, high)
    d_bytes, dmin_bytes = _to_half(d)[0], _to_half(dmin)[0]
    head = np.concatenate([d_bytes, dmin_bytes, _packed(s, m)], axis=1)
    return head, codes.astype(np.uint8).T.reshape(blocks, 8, 32)


def _polished_k(
    x: Floats, d: Floats, dmin: Floats, s: Floats, m: Floats, high: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """D, DMIN [blocks] (binary16 numbers) and S, M [blocks, 8], or better ones among their neighbours."""

    def error(d: Floats, dmin: Floats, s: Floats, m: Floats) -> Floats:
        found = squared_error(x, (d[:, None] * s).reshape(-1), -(dmin[:, None] * m).reshape(-1), 0, high)
        return found.reshape(s.shape)

    best = error(d, dmin, s, m)
    for up_s, up_m in _STEPS:
        other_s, other_m = (np.clip(one + np.float32(up), 0, 63) for one, up in ((s, up_s), (m, up_m)))
        found = error(d, dmin, other_s, other_m)
        better = found < best
        best, s, m = np.where(better, found, best), np.where(better, other_s, s), np.where(better, other_m, m)
    whole = best.sum(axis=1)
    for candidate in neighbours(dmin):
        candidate = np.maximum(candidate, np.float32(0))
        found = error(d, candidate, s, m).sum(axis=1)
        whole, dmin = np.minimum(found, whole), np.where(found < whole, candidate, dmin)
    for candidate in neighbours(d):
        candidate = np.maximum(candidate, np.float32(0))
        found = error(candidate, dmin, s, m).sum(axis=1)
        whole, d = np.minimum(found, whole), np.where(found < whole, candidate, d)
    return d, dmin, s, m


def _six_bits(values: Floats) -> tuple[Floats, Floats]:
    """(blocks, 8) numbers >= 0 -> the scale of each block [blocks], and whole numbers 0 to 63 (blocks, 8)."""
    _, unit = _to_half(values.max(axis=1) / np.float32(63))
    codes = codes_of(values.T, unit, None, 0, 63).T
    return unit, np.ascontiguousarray(codes)


def _refit(
    x: Floats, codes: Floats, d: Floats, dmin: Floats, s: Floats, m: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Better D, DMIN [blocks] and their 6-bit factors S, M [blocks, 8] for the same CODES, one after the other.

    The error is a square in each of them, so the whole number nearest to its minimum is the best one.
    """
    sums = codes.sum(axis=0).reshape(s.shape)
    squares = np.einsum("ij,ij->j", codes, codes).reshape(s.shape)
    along = np.einsum("ij,ij->j", codes, x).reshape(s.shape)
    total = x.sum(axis=0).reshape(s.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        m = _whole((d[:, None] * s * sums - total) / (np.float32(32) * dmin[:, None]), m, 0, 63)
        s = _whole((along + dmin[:, None] * m * sums) / (squares * d[:, None]), s, 0, 63)
        aa, ab, bb = (s * s * squares).sum(axis=1), (s * m * sums).sum(axis=1), (m * m).sum(axis=1) * np.float32(32)
        ax, bx = (s * along).sum(axis=1), (m * total).sum(axis=1)
        determinant = aa * bb - ab * ab
        new_d, new_dmin = (ax * bb - ab * bx) / determinant, (ax * ab - aa * bx) / determinant
        fits = (determinant > np.float32(1e-3) * aa * bb) & np.isfinite(new_d + new_dmin) & (new_d > 0) & (new_dmin > 0)
    return np.where(fits, new_d, d), np.where(fits, new_dmin, dmin), s, m


def _whole(optimum: Floats, old: Floats, low: int, high: int) -> Floats:
    """The whole numbers nearest to OPTIMUM, LOW to HIGH; OLD where there is no optimum."""
    nearest = np.clip(np.rint(optimum), np.float32(low), np.float32(high))
    return np.asarray(np.where(np.isfinite(optimum), nearest, old), dtype=np.float32)


def _packed(scale_codes: Floats, minimum_codes: Floats) -> Bytes:
    """Two (blocks, 8) arrays of 6-bit numbers -> (blocks, 12), as `k_quants` unpacks them."""
    s, m = scale_codes.astype(np.uint8), minimum_codes.astype(np.uint8)
    four, six, low = np.uint8(4), np.uint8(6), np.uint8(15)
    first = s[:, :4] | ((s[:, 4:] >> four) << six)
    second = m[:, :4] | ((m[:, 4:] >> four) << six)
    return np.concatenate([first, second, (s[:, 4:] & low) | ((m[:, 4:] & low) << four)], axis=1)


def encode_q6_k(rows: Floats) -> Bytes:
    """Symmetric sub-blocks of 16 with 64 codes: 128 low nibbles, 64 bytes of high pairs, 16 signed scales, f16 d."""
    blocks = rows.shape[0]
    x = _columns(rows.reshape(-1, 16))
    scales = best_scale(x, -32, 31, _SYMMETRIC).reshape(blocks, 16)
    extreme = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)[:, 0]
    d = -extreme / np.float32(128)
    _, d = _to_half(d)
    scale_codes = np.ascontiguousarray(codes_of(scales.T, d, None, -128, 127).T)
    for _ in range(_REFITS):
        _, d = _to_half(d)
        codes = codes_of(x, (d[:, None] * scale_codes).reshape(-1), None, -32, 31)
        along = np.einsum("ij,ij->j", codes, x).reshape(blocks, 16)
        squares = np.einsum("ij,ij->j", codes, codes).reshape(blocks, 16)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale_codes = _whole(along / (squares * d[:, None]), scale_codes, -128, 127)
        norm = (scale_codes * scale_codes * squares).sum(axis=1)
        d = np.where(norm > 0, (scale_codes * along).sum(axis=1) / np.maximum(norm, np.float32(1)), d)
    _, d = _to_half(d)
    least = np.full(blocks, np.inf, np.float32)
    for candidate in (d, *neighbours(d)):
        found = squared_error(x, (candidate[:, None] * scale_codes).reshape(-1), None, -32, 31)
        whole_error = found.reshape(blocks, 16).sum(axis=1)
        least, d = np.minimum(least, whole_error), np.where(whole_error < least, candidate, d)
    d_bytes, _ = _to_half(d)
    codes = codes_of(x, (d[:, None] * scale_codes).reshape(-1), None, -32, 31)
    whole = (codes + np.float32(32)).astype(np.uint8).T.reshape(blocks, 2, 4, 32)
    low, high = whole & np.uint8(15), whole >> np.uint8(4)
    nibbles = (low[:, :, :2] | (low[:, :, 2:] << np.uint8(4))).reshape(blocks, 128)
    pairs = (high << np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)).sum(axis=2, dtype=np.uint8)
    return np.concatenate(
        [nibbles, pairs.reshape(blocks, 64), scale_codes.astype(np.int8).view(np.uint8), d_bytes], axis=1
    )


ENCODERS: Final[dict[str, Callable[[Floats], Bytes]]] = {
    "Q4_0": encode_q4_0,
    "Q4_1": encode_q4_1,
    "Q5_0": encode_q5_0,
    "Q5_1": encode_q5_1,
    "Q8_0": encode_q8_0,
    "Q4_K": encode_q4_k,
    "Q5_K": encode_q5_k,
    "Q6_K": encode_q6_k,
}


#: Largest magnitude that the binary16 scales (and minimums) of a type reach for certain.
LARGEST: Final = {
    "Q4_0": 7 * LARGEST_HALF,
    "Q4_1": LARGEST_HALF,
    "Q5_0": 15 * LARGEST_HALF,
    "Q5_1": LARGEST_HALF,
    "Q8_0": 127 * LARGEST_HALF,
    "Q4_K": 63 * LARGEST_HALF,
    "Q5_K": 63 * LARGEST_HALF,
    "Q6_K": 31 * 127 * LARGEST_HALF,
}


def encode_blocks(dtype: str, rows: Floats) -> Bytes:
    """(blocks, elements) finite float32 -> (blocks, bytes) of DTYPE, in chunks that stay in the cache."""
    step = max(_CHUNK // rows.shape[1], 1)
    encoder = ENCODERS[dtype]
    parts = [encoder(rows[start : start + step]) for start in range(0, rows.shape[0], step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else encoder(rows)
