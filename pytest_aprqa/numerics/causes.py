"""Why a tensor is not the source's: which reordering, which other tensor, which rows; asked only after a failure.

A cause is a hint for the reader, never a verdict: the gate has failed by the numbers before anybody asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.numerics.changed_part import BITS, byte_order, part_cause, rounded_cause
from pytest_aprqa.numerics.tensor_error import TensorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

SIMILAR = 0.3  # NMSE up to which two vectors count as the same values with the noise of few bits (Q2_K: 0.24)
ROWS_LOOKED_AT = 4096
VALUES_LOOKED_AT = 1 << 24  # a larger tensor is looked at in its first rows: 64 MiB of float32 a side
ROWS_COMPARED = 64


def cause_of(source: CanonicalTensors, target: CanonicalTensors, error: TensorError) -> str:
    """The cause of an error of `compare_tensors`, as words; the hint of its sums where nothing more is known."""
    hint = error.likely_cause()
    if error.cause is not None or hint.startswith(("all zero", "no difference")):
        return error.cause or hint
    shape = source.entry(error.name).shape
    x, y = (_first_rows(tensors, error.name, shape) for tensors in (source, target))
    if (swapped := byte_order(x, y, target.entry(error.name).dtype)) is not None:
        return swapped
    if hint.startswith("NaN"):
        return hint
    # Norms of neighbouring layers are nearly alike: a plain scale or shift is the better word, but for the very values.
    exact = hint.startswith(("scaled", "shifted"))
    found = _exchanged(source, target, error.name, y, min(SIMILAR, error.nmse / (1000 if exact else 10)))
    if found is None and x.ndim == 2:
        found = _zero_rows(x, y) if exact else matrix_cause(x, y)
    stored = target.entry(error.name).dtype
    found = found or rounded_cause(x, y, stored) or (_few_levels(x, y, hint) if stored in BITS else None)
    if found is None and x.ndim == 2:
        found = part_cause(x, y) or _column_order(x, y, hint)
    return found or _few_levels(x, y, hint) or hint


def matrix_cause(x: NDArray[numpy.float32], y: NDArray[numpy.float32]) -> str | None:
    """What was done to the rows of matrix X so that it became Y; None where nothing of this kind was done."""
    if (found := _zero_rows(x, y)) is not None:
        return found
    if x.shape[0] == x.shape[1] and x.size > 1 and _alike(x.T, y):
        return "permuted or transposed: it is the transpose of the source's"
    if _alike(x.T.reshape(x.shape), y):
        return "permuted or transposed: the columns of the source are its rows, in the source's shape"
    for by in (1, -1):
        if x.shape[0] > 2 and _alike(numpy.roll(x, by, axis=0)[1:-1], y[1:-1]):
            return f"permuted or transposed: the rows are off by one, row 1 holds the source's row {1 - by}"
    return _rotary(x, y) or _row_order(x, y)


def _zero_rows(x: NDArray[numpy.float32], y: NDArray[numpy.float32]) -> str | None:
    zero = numpy.flatnonzero(~y.any(axis=1) & x.any(axis=1))
    if not zero.size:
        return None
    return f"part of the values changed: {zero.size} rows are zero, the first is row {int(zero[0])}"


def _first_rows(tensors: CanonicalTensors, name: str, shape: tuple[int, ...]) -> NDArray[numpy.float32]:
    """The tensor, or as many of its first rows as may be held."""
    if len(shape) != 2 or 0 in shape:
        return next(iter(tensors.chunks(name, VALUES_LOOKED_AT)), numpy.zeros(0, numpy.float32))
    rows = min(shape[0], max(2, VALUES_LOOKED_AT // shape[1]))
    pieces, held = [], 0
    for piece in tensors.chunks(name, 1 << 20):
        pieces.append(piece)
        held += piece.size
        if held >= rows * shape[1]:
            break
    flat: NDArray[numpy.float32] = numpy.concatenate(pieces)[: rows * shape[1]].reshape(rows, shape[1])
    return flat


def _alike(x: NDArray[numpy.float32], y: NDArray[numpy.float32], limit: float = SIMILAR) -> bool:
    """True when Y is X up to an NMSE of LIMIT (default: the noise of few bits). Constant arrays cannot tell."""
    if x.shape != y.shape or not x.size:
        return False
    a, b = x.astype(numpy.float64), y.astype(numpy.float64)
    energy = float((a * a).sum())
    return energy > 0 and float(((b - a) ** 2).sum()) <= limit * energy


def _nearest_row(x: NDArray[numpy.float32], row: NDArray[numpy.float32]) -> int | None:
    """Number of the row of X that is like ROW, None where there is none."""
    a, b = x.astype(numpy.float64), row.astype(numpy.float64)
    energy = numpy.einsum("ij,ij->i", a, a)
    distance = energy - 2 * (a @ b) + float(b @ b)
    at = int(numpy.argmin(distance))
    return at if energy[at] > 0 and distance[at] <= SIMILAR * energy[at] else None


def _rotary(x: NDArray[numpy.float32], y: NDArray[numpy.float32]) -> str | None:
    """Rows of the halves of a head next to each other, or the reverse: what a missing q/k permutation leaves."""
    rows = x.shape[0]
    if rows < 4 or not _alike(x[:1], y[:1]):
        return None
    for moved, words in ((y, "the halves of a head are interleaved"), (x, "interleaved pairs were pulled apart")):
        other = x if moved is y else y
        half = _nearest_row(other, moved[1])
        if half is None or half < 2 or rows % (2 * half):
            continue
        heads = rows // (2 * half)
        order = numpy.arange(rows).reshape(heads, 2, half).swapaxes(1, 2).ravel()
        if _alike(other[order], moved):
            return f"permuted or transposed: rotary order of {heads} heads of {2 * half}, {words}"
    return None


def _row_order(x: NDArray[numpy.float32], y: NDArray[numpy.float32]) -> str | None:
    """Whole rows in another place; told from a sample of the rows."""
    rows = min(len(y), ROWS_COMPARED)
    places = [_nearest_row(x[:ROWS_LOOKED_AT], y[row]) for row in range(rows)]
    moved = [row for row, place in enumerate(places) if place is not None and place != row]
    known = [place for place in places if place is not None]
    if len(moved) >= max(2, rows // 4) and len(known) >= rows // 2 and len(set(known)) == len(known):
        row = moved[0]
        return f"permuted or transposed: rows in another order, row {row} holds the source's row {places[row]}"
    return None


def _column_order(x: NDArray[numpy.float32], y: NDArray[numpy.float32], hint: str) -> str | None:
    """Whole columns in another place."""
    if "in another order" not in hint:
        return None
    found = _row_order(numpy.ascontiguousarray(x.T), numpy.ascontiguousarray(y.T))
    return found and found.replace("row", "column")


def _exchanged(
    source: CanonicalTensors, target: CanonicalTensors, name: str, y: NDArray[numpy.float32], limit: float
) -> str | None:
    """The source's tensor of the same shape whose first values these are, up to an NMSE of LIMIT."""
    shape = target.entry(name).shape
    sample = y.ravel()[: 1 << 14]
    for other in source.names():
        if other == name or source.entry(other).shape != shape:
            continue
        values = next(iter(source.chunks(other, sample.size)))[: sample.size]
        if values.size > 1 and _alike(values, sample[: values.size], limit):
            return f"other values: exchanged, these are the source's {other}"
    return None


def _few_levels(x: NDArray[numpy.float32], y: NDArray[numpy.float32], hint: str) -> str | None:
    """A type of fewer bits leaves few distinct values in each block of 32, where the source has nearly 32."""
    if not hint.startswith("part of the values") or y.size < 1024:
        return None
    own, theirs = (_levels(values) for values in (y, x))
    if own <= 17 and theirs > 24:  # 4 bits have 16 levels, with zero 17
        return f"a type of fewer bits: about {own:.0f} distinct values in blocks of 32, the source has {theirs:.0f}"
    return None


def _levels(values: NDArray[numpy.float32]) -> float:
    blocks = values.ravel()[: 1 << 16]
    blocks = numpy.sort(blocks[: blocks.size // 32 * 32].reshape(-1, 32), axis=1)
    return float((numpy.diff(blocks, axis=1) != 0).sum(axis=1).mean() + 1)
