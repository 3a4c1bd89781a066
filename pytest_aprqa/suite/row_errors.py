"""The error of each row of a matrix: one damaged row drowns in the error of a tensor of few bits, not in its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.numerics.pair_sums import AT_ONCE, PairSums, pair_sums
from pytest_aprqa.numerics.paired_pieces import paired_pieces

if TYPE_CHECKING:
    from pytest_aprqa.formats.canonical import CanonicalTensors

# A row that one value dominates has up to 3.2 times the limit of its type (round to nearest in blocks of 32: Q4_K,
# 32 x (2/15)^2 / 12 = 0.047 against 0.015); five leaves room for encoders that weigh values by importance.
ROW_FACTOR = 5.0
# Rows of less than this share of the mean energy are judged against it: their own scale may not fit a half float.
FAINT = 1e-4
# Types with one scale for the whole tensor: a faint row is only as exact as the loudest.
ONE_SCALE = ("APR_Q8", "APR_Q4")
ROWS_EXPLAINED = 3
OTHER_VALUES = "the row has other values"


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
    source: CanonicalTensors,
    target: CanonicalTensors,
    name: str,
    limit: float,
    dtype: str,
    sums: PairSums | None = None,
) -> MatrixError:
    """Error of matrix NAME, whole and by row; a row may have ROW_FACTOR x LIMIT. Shapes must be equal, [rows, columns].

    SUMS: `pair_sums` of both, where they are known.
    """
    sums = sums or pair_sums(source, target, name)
    errors, energies, rows = sums.errors, sums.energies, len(sums.errors)
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
        [RowError(r, float(relative[r]), bound, causes.get(r, OTHER_VALUES)) for r in worst],
    )


def _causes(source: CanonicalTensors, target: CanonicalTensors, name: str, rows: list[int]) -> dict[int, str]:
    """What each of the rows looks like beside the source's; one more pass over the matrix."""
    if not rows:
        return {}
    columns = source.entry(name).shape[1]
    step = max(1, AT_ONCE // columns)
    found = {}
    for number, (a, b) in enumerate(paired_pieces(source, target, name, step * columns)):
        for row in rows:
            at = row - number * step
            if 0 <= at < a.size // columns:
                x, y = (one[at * columns : (at + 1) * columns].astype(numpy.float64) for one in (a, b))
                found[row] = _cause(float(x @ x), float(y @ y), float(x @ y), float((y - x) @ (y - x)))
    return found


def _cause(energy: float, own: float, product: float, error: float) -> str:
    if own == 0:
        return "the row is zero"
    if energy == 0:
        return "the source's row is zero"
    scale = product / energy
    if abs(scale - 1) > 0.01 and error - (scale - 1) ** 2 * energy < 0.05 * energy * scale**2:
        return f"the row is scaled by about {scale:.4g}"
    return OTHER_VALUES
