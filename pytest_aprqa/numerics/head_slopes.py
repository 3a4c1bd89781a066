"""Is one attention head scaled? The least-squares slope of each head against the source, with its standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.numerics.limits import limits_table
from pytest_aprqa.numerics.pair_sums import PairSums, pair_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

# A head is as many rows, or columns, of these projections as its size says.
ROLES = {"q_proj.weight": "rows", "k_proj.weight": "rows", "v_proj.weight": "rows", "o_proj.weight": "columns"}


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
    return name.endswith(tuple(ROLES)) and dtype in limits_table()["head_slopes"]["types"]


def segment_of(tensors: CanonicalTensors, name: str, head_dim: int) -> int:
    """Values of a row of projection NAME that belong to one head; 0 where the matrix is not made of such heads."""
    rows, columns = tensors.entry(name).shape
    if head_dim < 1 or not columns or (rows if _is_by_rows(name) else columns) % head_dim:
        return 0
    return columns if _is_by_rows(name) else head_dim


def _is_by_rows(name: str) -> bool:
    return next(kind for role, kind in ROLES.items() if name.endswith(role)) == "rows"


def scaled_heads(
    source: CanonicalTensors, target: CanonicalTensors, name: str, head_dim: int, sums: PairSums | None = None
) -> list[HeadSlope]:
    """Heads of projection NAME beyond the limit of its stored type, worst first; both sides [rows, columns] alike.

    A head is `head_dim` rows of q, k and v and as many columns of o. Its slope is sum(x y) / sum(x^2) in float64; the
    standard error is that of rows as clusters, since values of a row share the scales of their blocks. Where there are
    enough heads the slope is held against their median, which has the shrinkage of the encoder, else (or where the
    median itself is off) against 1. Heads too small for a standard error (`least_values`, `least_rows`) are not judged.
    SUMS: `pair_sums` of both with segments of `segment_of`, where they are known.
    """
    table = limits_table()["head_slopes"]
    measured = slopes_of_heads(source, target, name, head_dim, sums)
    if measured is None:
        return []
    slopes, errors = measured
    known = numpy.isfinite(slopes)
    dtype = target.entry(name).dtype
    row, noise = table["types"][dtype], table["standard_errors"] * errors
    expected, limits = float(numpy.median(slopes[known])), row["from_median"] + noise
    shared = abs(expected - 1) > row["from_one"] + float(numpy.median(noise[known]))
    if shared or int(known.sum()) < table["median_from_heads"]:  # no encoder shrinks all heads by so much
        expected, limits = 1.0, row["from_one"] + noise
    deviations = numpy.where(known, numpy.abs(slopes - expected), 0.0)
    found = numpy.flatnonzero(deviations > limits)
    worst = found[numpy.argsort(-deviations[found], kind="stable")].tolist()
    return [HeadSlope(h, float(slopes[h]), expected, float(errors[h]), float(limits[h])) for h in worst]


def slopes_of_heads(
    source: CanonicalTensors, target: CanonicalTensors, name: str, head_dim: int, sums: PairSums | None = None
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]] | None:
    """(slope, standard error) of each head of NAME, NaN where it is all zeros; None: too few values, or all zeros."""
    table = limits_table()["head_slopes"]
    segment = segment_of(source, name, head_dim)
    products = (sums or pair_sums(source, target, name, segment)).products if segment else None
    if products is None:
        return None
    xx, xy, yy = _by_heads(products, name, head_dim)
    rows, heads = xx.shape
    size = int(numpy.prod(source.entry(name).shape)) // max(heads, 1)
    if not heads or rows < table["least_rows"] or size < table["least_values"]:
        return None
    slopes, errors = _slopes(xx, xy, yy, size)
    return (slopes, errors) if numpy.isfinite(slopes).any() else None


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


def _by_heads(
    products: NDArray[numpy.float64], name: str, head_dim: int
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64], NDArray[numpy.float64]]:
    """Sums of x^2, x y and y^2: [rows of a head, heads]. Rows of q, k and v follow each other head by head."""
    shaped = products.reshape(3, -1, head_dim).swapaxes(1, 2) if _is_by_rows(name) else products
    return shaped[0], shaped[1], shaped[2]
