"""The error of each row of a matrix: one damaged row drowns in the error of a tensor of few bits, not in its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

# A row that one value dominates has up to 3.2 times the limit of its type (round to nearest in blocks of 32: Q4_K,
# 32 x (2/15)^2 / 12 = 0.047 against 0.015); five leaves room for encoders that weigh values by importance.
ROW_FACTOR = 5.0
# Rows of less than this share of the mean energy are judged against it: their own scale may not fit a half float.
FAINT = 1e-4
# Types with one scale for the whole tensor: a faint row is only as exact as the loudest.
ONE_SCALE = ("APR_Q8", "APR_Q4")
_ROWS_AT_ONCE = 1 << 20  # values


@dataclass(frozen=True, slots=True)
class RowError:
    """A row beyond its limit, and what it looks like beside the source's."""

    row: int
    nmse: float
    limit: float
    cause: str


def damaged_rows(
    source: CanonicalTensors, target: CanonicalTensors, name: str, limit: float, dtype: str
) -> list[RowError]:
    """Rows of NAME whose error exceeds ROW_FACTOR x LIMIT, worst first; empty for vectors. Shapes must agree."""
    shape = source.entry(name).shape
    if len(shape) != 2 or 0 in shape:
        return []
    rows, columns = shape
    step = max(1, _ROWS_AT_ONCE // columns)
    errors, energies, products, own = (numpy.zeros(rows) for _ in range(4))
    pairs = zip(_in_rows(source, name, step * columns), _in_rows(target, name, step * columns), strict=True)
    for number, (a, b) in enumerate(pairs):
        x, y = (one.reshape(-1, columns).astype(numpy.float64) for one in (a, b))
        part = slice(number * step, number * step + len(x))
        energies[part] = numpy.einsum("ij,ij->i", x, x)
        own[part] = numpy.einsum("ij,ij->i", y, y)
        products[part] = numpy.einsum("ij,ij->i", x, y)
        difference = y - x
        errors[part] = numpy.einsum("ij,ij->i", difference, difference)
    mean = float(energies.mean())
    if not mean > 0:
        return []
    floor = mean * (1.0 if dtype in ONE_SCALE else FAINT)
    relative = errors / numpy.maximum(energies, floor)
    bound = ROW_FACTOR * limit
    bad = numpy.flatnonzero(~(relative <= bound))
    worst_first = bad[numpy.argsort(-relative[bad], kind="stable")]
    return [
        RowError(r, float(relative[r]), bound, _cause(energies[r], own[r], products[r], errors[r]))
        for r in worst_first.tolist()
    ]


def _in_rows(tensors: CanonicalTensors, name: str, size: int) -> Iterator[NDArray[numpy.float32]]:
    """Pieces of exactly SIZE values (the last may be shorter), however the decoder cuts its own."""
    kept: list[NDArray[numpy.float32]] = []
    held = 0
    for piece in tensors.chunks(name, size):
        kept.append(piece)
        held += piece.size
        while held >= size:
            whole = kept[0] if len(kept) == 1 else numpy.concatenate(kept)
            yield whole[:size]
            kept, held = [whole[size:]], held - size
    if held:
        yield kept[0] if len(kept) == 1 else numpy.concatenate(kept)


def _cause(energy: float, own: float, product: float, error: float) -> str:
    if own == 0:
        return "the row is zero"
    if energy == 0:
        return "the source's row is zero"
    scale = product / energy
    if abs(scale - 1) > 0.01 and error - (scale - 1) ** 2 * energy < 0.05 * energy * scale**2:
        return f"the row is scaled by about {scale:.4g}"
    return "the row has other values"
