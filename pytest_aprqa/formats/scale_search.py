"""The scale (and minimum) with which integer codes give a block back with the least squared error, unweighted.

Blocks stand in columns, (elements, blocks), so that sums run over whole vectors; ggml's own search weighs large values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
#: Rounding noise of an error in squared spans: sub-blocks that several stretches fit exactly take the same, the first.
_NOISE = np.float32(3e-6)


def best_scale(x: Floats, low: int, high: int, stretches: Sequence[float]) -> Floats:
    """Scale per column [blocks] for x ~ scale * code, LOW <= code <= HIGH, LOW = -HIGH - 1 or -HIGH; 0 for zeros.

    Tried: the value of largest magnitude on code LOW, and on HIGH, each with that end moved by every stretch.
    """
    columns = np.arange(x.shape[1])
    extreme = x[np.abs(x).argmax(axis=0), columns]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = np.where(extreme == 0, np.float32(0), x / extreme)
    best, found = np.full(x.shape[1], -1, np.float32), np.zeros(x.shape[1], np.float32)
    codes, products = np.empty_like(unit), np.empty_like(unit)
    for end in (low, high):
        for stretch in stretches:
            np.multiply(unit, np.float32(end + stretch), out=codes)
            np.rint(codes, out=codes)
            np.clip(codes, np.float32(low), np.float32(high), out=codes)
            along = np.multiply(codes, unit, out=products).sum(axis=0)
            norm = np.maximum(np.multiply(codes, codes, out=products).sum(axis=0), np.float32(1))
            explained = along * along / norm
            better = explained > best
            best = np.where(better, explained, best)
            found = np.where(better, along / norm, found)
    return np.asarray(found * extreme, dtype=np.float32)


def best_scale_and_minimum(
    x: Floats, high: int, stretches: Sequence[float], *, not_above_zero: bool
) -> tuple[Floats, Floats]:
    """Scale >= 0 and minimum per column [blocks] for x ~ scale * code + minimum, 0 <= code <= HIGH.

    NOT_ABOVE_ZERO: the format subtracts its minimum as an unsigned number. Equal values give scale 0.
    """
    least = x.min(axis=0)
    if not_above_zero:
        least = np.minimum(least, np.float32(0))
    span = x.max(axis=0) - least
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = np.where(span == 0, np.float32(0), (x - least) / span)
        limit = np.where(span == 0, np.float32(0), -least / span) if not_above_zero else np.float32(np.inf)
    total, count = unit.sum(axis=0), np.float32(x.shape[0])
    best, scale, shift = np.full_like(span, np.inf), np.zeros_like(span), np.zeros_like(span)
    codes, products = np.empty_like(unit), np.empty_like(unit)
    for stretch in stretches:
        np.multiply(unit, np.float32(high + stretch), out=codes)
        np.rint(codes, out=codes)
        np.minimum(codes, np.float32(high), out=codes)
        sum_codes = codes.sum(axis=0)
        along = np.multiply(codes, unit, out=products).sum(axis=0)
        norm = np.maximum(np.multiply(codes, codes, out=products).sum(axis=0), np.float32(1))
        determinant = count * norm - sum_codes * sum_codes
        with np.errstate(divide="ignore", invalid="ignore"):
            b = (norm * total - sum_codes * along) / determinant
        b = np.minimum(np.where(determinant > 0, b, np.float32(0)), limit)
        a = (along - b * sum_codes) / norm
        error = a * (a * norm - 2 * along + 2 * b * sum_codes) + b * (count * b - 2 * total)
        better = (error < best - _NOISE) & (a >= 0)
        best = np.where(better, error, best)
        scale, shift = np.where(better, a, scale), np.where(better, b, shift)
    return np.asarray(scale * span, np.float32), np.asarray(shift * span + least, np.float32)


def codes_of(x: Floats, scale: Floats, minimum: Floats | None, low: int, high: int) -> Floats:
    """The codes (whole float32 numbers, LOW to HIGH) nearest to (x - minimum) / scale; code 0 where scale is 0."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))
    codes = (x if minimum is None else x - minimum) * inverse
    np.rint(codes, out=codes)
    return np.clip(codes, np.float32(low), np.float32(high), out=codes)


def squared_error(x: Floats, scale: Floats, minimum: Floats | None, low: int, high: int) -> Floats:
    """Sum of squared errors per column [blocks] of the nearest codes LOW to HIGH for x ~ scale * code + minimum."""
    left = codes_of(x, scale, minimum, low, high)
    left *= scale
    if minimum is not None:
        left += minimum
    left -= x
    return np.asarray(np.einsum("ij,ij->j", left, left), np.float32)


def neighbours(values: Floats) -> tuple[Floats, Floats]:
    """The binary16 numbers next to VALUES, which are such numbers, below and above; finite ones stay finite."""
    halves, largest = values.astype(np.float16), np.float16(np.finfo(np.float16).max)
    below, above = np.nextafter(halves, -largest), np.nextafter(halves, largest)
    return below.astype(np.float32), above.astype(np.float32)


def polished(x: Floats, scale: Floats, minimum: Floats, high: int) -> tuple[Floats, Floats]:
    """SCALE and MINIMUM, binary16 numbers per column [blocks], or better ones among their neighbours.

    Rounded one by one, they may miss a value that every element has, such as zero; together they need not.
    """
    best = squared_error(x, scale, minimum, 0, high)
    for candidate in neighbours(minimum):
        error = squared_error(x, scale, candidate, 0, high)
        best, minimum = np.minimum(error, best), np.where(error < best, candidate, minimum)
    for candidate in neighbours(scale):
        candidate = np.maximum(candidate, np.float32(0))
        error = squared_error(x, candidate, minimum, 0, high)
        best, scale = np.minimum(error, best), np.where(error < best, candidate, scale)
    return scale, minimum
