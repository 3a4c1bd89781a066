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
ROWS_EXPLAINED = 3
_VALUES_AT_ONCE = 1 << 16  # 512 KiB of float32: both sides and their difference stay in the processor's cache


@dataclass(frozen=True, slots=True)
class RowError:
    """A row beyond its limit, and what it looks like beside the source's."""

    row: int
    nmse: float
    limit: float
    cause: str


@dataclass(frozen=True, slots=True)
class MatrixError:
    """NMSE of a whole matrix, and the rows beyond their limit, worst first."""

    nmse: float
    damaged: list[RowError]


def matrix_error(
    source: CanonicalTensors, target: CanonicalTensors, name: str, limit: float, dtype: str
) -> MatrixError:
    """Error of matrix NAME, whole and by row; a row may have ROW_FACTOR x LIMIT. Shapes must be equal, [rows, columns].

    Sums within a row in float32, over rows in float64; in float64 throughout where float32 overflows.
    """
    rows, columns = source.entry(name).shape
    step = max(1, _VALUES_AT_ONCE // columns)
    errors, energies = numpy.zeros(rows), numpy.zeros(rows)
    pieces = zip(_in_rows(source, name, step * columns), _in_rows(target, name, step * columns), strict=True)
    for number, (a, b) in enumerate(pieces):
        x, y = a.reshape(-1, columns), b.reshape(-1, columns)
        part = slice(number * step, number * step + len(x))
        with numpy.errstate(over="ignore", invalid="ignore"):
            difference = y - x
            errors[part] = _row_squares(difference)
            energies[part] = _row_squares(x)
            if not (numpy.isfinite(errors[part]).all() and numpy.isfinite(energies[part]).all()):
                x, y = x.astype(numpy.float64), y.astype(numpy.float64)
                errors[part] = numpy.square(y - x).sum(axis=1)
                energies[part] = numpy.square(x).sum(axis=1)
    total = float(energies.sum())
    error = float(errors.sum())
    if not total > 0:
        return MatrixError(0.0 if error == 0 else float("nan" if error != error else "inf"), [])
    floor = total / rows * (1.0 if dtype in ONE_SCALE else FAINT)
    with numpy.errstate(invalid="ignore"):
        relative = errors / numpy.maximum(energies, floor)
    bound = ROW_FACTOR * limit
    bad = numpy.flatnonzero(~(relative <= bound))
    worst = bad[numpy.argsort(-numpy.nan_to_num(relative[bad], nan=numpy.inf), kind="stable")].tolist()
    causes = _causes(source, target, name, worst[:ROWS_EXPLAINED])
    return MatrixError(
        error / total,
        [RowError(r, float(relative[r]), bound, causes.get(r, "the row has other values")) for r in worst],
    )


def _row_squares(rows: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    """Sum of the squares of each row, float32."""
    if hasattr(numpy, "vecdot"):  # numpy 2
        return numpy.asarray(numpy.vecdot(rows, rows), numpy.float32)
    return numpy.asarray(numpy.einsum("ij,ij->i", rows, rows), numpy.float32)


def _causes(source: CanonicalTensors, target: CanonicalTensors, name: str, rows: list[int]) -> dict[int, str]:
    """What each of the rows looks like beside the source's; one more pass over the matrix."""
    if not rows:
        return {}
    columns = source.entry(name).shape[1]
    step = max(1, _VALUES_AT_ONCE // columns)
    found = {}
    pieces = zip(_in_rows(source, name, step * columns), _in_rows(target, name, step * columns), strict=True)
    for number, (a, b) in enumerate(pieces):
        for row in rows:
            at = row - number * step
            if 0 <= at < a.size // columns:
                x, y = (one[at * columns : (at + 1) * columns].astype(numpy.float64) for one in (a, b))
                found[row] = _cause(float(x @ x), float(y @ y), float(x @ y), float((y - x) @ (y - x)))
    return found


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
