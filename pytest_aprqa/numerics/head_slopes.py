"""Is one attention head scaled? The least-squares slope of each head against the source, with its standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.numerics.limits import limits_table
from pytest_aprqa.numerics.paired_pieces import paired_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

_VALUES_AT_ONCE = 1 << 15  # both sides in float64 stay in the processor's cache
_ROLES = {"q_proj.weight": "rows", "k_proj.weight": "rows", "v_proj.weight": "rows", "o_proj.weight": "columns"}


@dataclass(frozen=True, slots=True)
class HeadSlope:
    """A head whose scale is not that of its tensor. `limit`: largest |slope - expected|, for its type and its noise."""

    head: int
    slope: float
    expected: float
    standard_error: float
    limit: float

    @property
    def deviation(self) -> float:
        """|slope - expected|."""
        return abs(self.slope - self.expected)


def is_judged(name: str, dtype: str) -> bool:
    """True for q, k, v and o projections in a type whose slopes were measured."""
    return name.endswith(tuple(_ROLES)) and dtype in limits_table()["head_slopes"]["types"]


def scaled_heads(source: CanonicalTensors, target: CanonicalTensors, name: str, head_dim: int) -> list[HeadSlope]:
    """Heads of projection NAME beyond the limit of its stored type, worst first; both sides [rows, columns] alike.

    A head is `head_dim` rows of q, k and v and as many columns of o. Its slope is sum(x y) / sum(x^2) in float64; the
    standard error is that of rows as clusters, since values of a row share the scales of their blocks. Where there are
    enough heads the slope is held against their median, which has the shrinkage of the encoder, else (or where the
    median itself is off) against 1. Heads too small for a standard error (`least_values`, `least_rows`) are not judged.
    """
    table = limits_table()["head_slopes"]
    dtype = target.entry(name).dtype
    xx, xy, yy = _sums_of_heads(source, target, name, head_dim)
    rows, heads = xx.shape
    size = int(numpy.prod(source.entry(name).shape)) // max(heads, 1)
    if not heads or rows < table["least_rows"] or size < table["least_values"]:
        return []
    slopes, errors = _slopes(xx, xy, yy, size)
    known = numpy.isfinite(slopes)
    if not known.any():
        return []
    row, noise = table["types"][dtype], table["standard_errors"] * errors
    expected, limits = float(numpy.median(slopes[known])), row["from_median"] + noise
    shared = abs(expected - 1) > row["from_one"] + float(numpy.median(noise[known]))
    if shared or int(known.sum()) < table["median_from_heads"]:  # no encoder shrinks all heads by so much
        expected, limits = 1.0, row["from_one"] + noise
    deviations = numpy.where(known, numpy.abs(slopes - expected), 0.0)
    found = numpy.flatnonzero(deviations > limits)
    worst = found[numpy.argsort(-deviations[found], kind="stable")].tolist()
    return [HeadSlope(h, float(slopes[h]), expected, float(errors[h]), float(limits[h])) for h in worst]


def _slopes(
    xx: NDArray[numpy.float64], xy: NDArray[numpy.float64], yy: NDArray[numpy.float64], size: int
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
    """(slope, standard error) of heads of SIZE values from sums [rows, heads]; NaN where a head is all zeros."""
    rows = len(xx)
    energy = xx.sum(axis=0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        slopes = xy.sum(axis=0) / energy
        residual = numpy.maximum(yy.sum(axis=0) - slopes**2 * energy, 0.0)
        plain = numpy.sqrt(residual / max(size - 1, 1) / energy)
        clustered = numpy.sqrt(numpy.square(xy - slopes * xx).sum(axis=0) * rows / max(rows - 1, 1)) / energy
    return slopes, numpy.maximum(plain, clustered)


def _sums_of_heads(
    source: CanonicalTensors, target: CanonicalTensors, name: str, head_dim: int
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64], NDArray[numpy.float64]]:
    """Of x^2, x y and y^2: [rows of a head, heads]; no heads where the matrix is not made of heads of this size."""
    rows, columns = source.entry(name).shape
    by_rows = next(kind for role, kind in _ROLES.items() if name.endswith(role)) == "rows"
    empty = numpy.zeros((0, 0))
    if head_dim < 1 or not columns or (rows if by_rows else columns) % head_dim:
        return empty, empty, empty
    width = columns if by_rows else head_dim
    step = max(1, _VALUES_AT_ONCE // columns)
    parts: list[NDArray[numpy.float64]] = []
    for a, b in paired_pieces(source, target, name, step * columns):
        x, y = (one.astype(numpy.float64).reshape(-1, width) for one in (a, b))
        with numpy.errstate(over="ignore", invalid="ignore"):
            parts.append(numpy.stack([_row_products(p, q) for p, q in ((x, x), (x, y), (y, y))]))
    sums = numpy.concatenate(parts, axis=1)
    # Rows of q, k and v follow each other head by head, pieces of a row of o head after head.
    shaped = sums.reshape(3, -1, head_dim).swapaxes(1, 2) if by_rows else sums.reshape(3, rows, -1)
    return shaped[0], shaped[1], shaped[2]


def _row_products(x: NDArray[numpy.float64], y: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Inner product of each row of X with that of Y."""
    if hasattr(numpy, "vecdot"):  # numpy 2
        return numpy.asarray(numpy.vecdot(x, y), numpy.float64)
    return numpy.asarray(numpy.einsum("ij,ij->i", x, y), numpy.float64)
