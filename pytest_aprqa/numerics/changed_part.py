"""Which part of a tensor is another, and what was done to it: rows, columns, single values, byte order, rounding.

Like all causes a hint for the reader, asked only after a gate has failed by the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[numpy.float32]

NOTICED: Final = 10.0  # times the lower quartile of the rows' errors: stands out from the noise of the stored type
SCALED: Final = 0.5  # share of the energy of the change that a scale may leave unexplained
EXPLAINED: Final = 0.05  # share of its energy in which a moved row may differ
MOST: Final = 0.5  # of the rows: more is no part
FEWER: Final = 3  # bits of mantissa: sums and differences of a few values may lack one or two by chance
BITS: Final = {"F32": 23, "F16": 10, "BF16": 7}  # of the mantissa


def byte_order(x: Matrix, y: Matrix, dtype: str) -> str | None:
    """Words when the values Y, stored as DTYPE, are X in the other byte order; most of them must be equal then."""
    if dtype == "F32":
        back = y.view(numpy.uint32).byteswap().view(numpy.float32)
    elif dtype == "F16":
        back = y.astype(numpy.float16).view(numpy.uint16).byteswap().view(numpy.float16).astype(numpy.float32)
    elif dtype == "BF16":
        halves = (y.view(numpy.uint32) >> 16).astype(numpy.uint16).byteswap().astype(numpy.uint32)
        back = (halves << 16).view(numpy.float32)
    else:
        return None
    with numpy.errstate(invalid="ignore", over="ignore"):
        right = (numpy.abs(back - x) <= 2.0 ** -BITS[dtype] * numpy.abs(x)).mean() if x.size else 0.0
        equal = (x == y).mean() if x.size else 1.0
    if right < 1 - MOST or right <= equal:
        return None
    return f"byte order: {right:.0%} of the values are the source's with their bytes reversed"


def part_cause(x: Matrix, y: Matrix) -> str | None:
    """The rows, columns or values of matrix X that are others in Y, where they are less than half; else None."""
    if 0 in x.shape:
        return None
    changed = x != y
    if (count := int(changed.sum())) == 1:
        row, column = (int(at[0]) for at in numpy.nonzero(changed))
        return f"part of the values changed: one value, row {row}, column {column}"
    found = _lines(x, y, "row") or _lines(numpy.ascontiguousarray(x.T), numpy.ascontiguousarray(y.T), "column")
    if found is None and 0 < count <= x.size // 100:
        row, column = (int(at[0]) for at in numpy.nonzero(changed))
        found = f"part of the values changed: {count} values, the first is row {row}, column {column}"
    return found


def rounded_cause(x: Matrix, y: Matrix, dtype: str) -> str | None:
    """Words when every value of Y has fewer bits of mantissa than those of X and than DTYPE, the stored type, holds."""
    own, theirs = _mantissa(y), _mantissa(x)
    if not 0 < own <= min(theirs, BITS.get(dtype, 0)) - FEWER:
        return None
    return f"a type of fewer bits: every value has at most {own} bits of mantissa, the source's have {theirs}"


def _mantissa(values: Matrix) -> int:
    bits = int(numpy.bitwise_or.reduce(values.ravel().view(numpy.uint32) & 0x7FFFFF)) if values.size else 0
    return 23 - ((bits & -bits).bit_length() - 1) if bits else 0


def _lines(x: Matrix, y: Matrix, what: str) -> str | None:
    """The rows of X that are others in Y, and what was done to them."""
    errors = numpy.square(y - x, dtype=numpy.float64).sum(axis=1)
    energies = numpy.square(x, dtype=numpy.float64).sum(axis=1)
    if not numpy.isfinite(errors).all():
        return None
    relative = errors / numpy.maximum(energies, energies.mean() * 1e-6 + 1e-300)
    at = numpy.flatnonzero(relative > NOTICED * numpy.quantile(relative, 0.25))
    if not at.size or at.size > MOST * len(x) or (x[at] != y[at]).mean() < MOST:
        return None
    return f"part of the values changed: {_numbers(at, what)} {_done(x, y, at, what)}"


def _numbers(at: NDArray[numpy.intp], what: str) -> str:
    if at.size == 1:
        return f"{what} {at[0]}"
    if at[-1] - at[0] == at.size - 1:
        return f"{what}s {at[0]} to {at[-1]}"
    return f"{at.size} {what}s, the first is {what} {at[0]},"


def _done(x: Matrix, y: Matrix, at: NDArray[numpy.intp], what: str) -> str:
    """What was done to rows AT, in words."""
    a, b = x[at].astype(numpy.float64), y[at].astype(numpy.float64)
    if not b.any():
        return "zero"
    energy = float((a * a).sum())
    scale = float((a * b).sum()) / energy if energy else 0.0
    rest = float(((b - scale * a) ** 2).sum())
    if abs(scale - 1) > 1e-3 and rest < SCALED * (scale - 1) ** 2 * energy:
        return "negated" if abs(scale + 1) < 1e-3 else f"scaled by about {scale:.4g}"
    # The same rows in another order: each is like one of the others that changed.
    own, length = (b * b).sum(axis=1), (a * a).sum(axis=1)
    distances = own[:, None] - 2 * (b @ a.T) + length[None, :] if at.size <= 4096 else numpy.ones((1, 1))
    nearest = distances.argmin(axis=1)
    moved = at.size > 1 and bool((nearest != numpy.arange(len(nearest))).all())
    if moved and (distances.min(axis=1) <= EXPLAINED * own).all() and len(set(nearest.tolist())) == at.size:
        return f"in another order, {what} {at[0]} holds the source's {what} {at[nearest[0]]}"
    return "with other values"
