"""The error of one tensor against its source, with a hint at the cause: permuted, transposed, scaled, shifted."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.numerics.paired_pieces import PIECE, paired_pieces, same_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

SCALED_FROM = 0.01  # deviation of the best scale from 1 that is worth naming
UNEXPLAINED = 0.05  # share of the energy that a scale may leave unexplained (noise of few bits) and still be the cause
SHIFT_EXPLAINS = 0.99  # share of the error that one constant must explain to be the cause
CACHED = 1 << 14  # values of one sum: three arrays of float64 in 384 KiB
SAME = 1e-9  # relative difference up to which sums count as equal, and errors as too small to be a reordering


@dataclass(frozen=True, slots=True)
class TensorError:
    """NMSE and the sums from which a cause is guessed. `cause` is set when no error could be computed."""

    name: str
    nmse: float
    scale: float
    source_energy: float
    energy: float
    same_values_elsewhere: bool
    cause: str | None = None
    shift: float = 0.0  # mean of the difference
    shift_share: float = 0.0  # share of the error that this constant explains, 0 to 1

    def likely_cause(self) -> str:
        """A word for the reader; a hint, not a verdict."""
        if not (math.isfinite(self.energy) and math.isfinite(self.source_energy)):
            return "NaN or infinite values"
        if self.nmse == 0:
            return "no difference"
        if self.energy == 0:
            return "all zero"
        if self.same_values_elsewhere:
            return "permuted or transposed: the same values in another order"
        if self.shift_share >= SHIFT_EXPLAINS:
            return f"shifted by about {self.shift:.4g}"
        if abs(self.scale - 1) > SCALED_FROM and self._unexplained_by_scale() <= UNEXPLAINED:
            return f"scaled by about {self.scale:.4g}"
        if self.nmse > 0.5:
            return "other values"
        return "part of the values changed, or a type of fewer bits"

    def _unexplained_by_scale(self) -> float:
        """Share of the energy that is left when the source times `scale` is taken away; 1 for unrelated values."""
        return 1 - self.scale**2 * self.source_energy / self.energy


def compare_tensors(source: CanonicalTensors, target: CanonicalTensors, name: str) -> TensorError:
    """Compare one tensor of two artifacts in canonical form; float64 sums, bounded memory whatever its size.

    Shapes must agree, else `cause` says so. Equal bytes of one type are equal, and are not decoded. FormatError where
    a tensor cannot be decoded.
    """
    expected, found = source.entry(name).shape, target.entry(name).shape
    if expected != found:
        nan = float("nan")
        return TensorError(name, nan, nan, nan, nan, False, f"shape {list(found)}, source has {list(expected)}")
    if same_bytes(source, target, name):
        return TensorError(name, 0.0, 1.0, 0.0, 0.0, False)
    return _error_of(name, lambda: paired_pieces(source, target, name))


def compare_all(
    source: CanonicalTensors, target: CanonicalTensors, names: Sequence[str], threads: int | None = None
) -> Iterator[TensorError]:
    """`compare_tensors` of each name, in their order, on THREADS threads (default: all cores)."""
    count = threads or os.cpu_count() or 1
    if count == 1 or len(names) < 2:
        yield from (compare_tensors(source, target, name) for name in names)
        return
    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(lambda name: compare_tensors(source, target, name), names)


def tensor_error(name: str, source: NDArray[numpy.float32], target: NDArray[numpy.float32]) -> TensorError:
    """NMSE = sum((y - x)^2) / sum(x^2); 0 for two zero tensors, infinity for a zero source with other target."""
    x, y = source.ravel(), target.ravel()

    def pieces() -> Iterator[tuple[NDArray[numpy.float32], NDArray[numpy.float32]]]:
        return ((x[at : at + PIECE], y[at : at + PIECE]) for at in range(0, x.size, PIECE))

    return _error_of(name, pieces)


def _error_of(
    name: str, pieces: Callable[[], Iterator[tuple[NDArray[numpy.float32], NDArray[numpy.float32]]]]
) -> TensorError:
    count, sums = 0, numpy.zeros(5)
    for one, other in pieces():
        count += one.size
        for at in range(0, one.size, CACHED):
            sums += _sums(one[at : at + CACHED], other[at : at + CACHED])
    difference, total, energy_x, energy_y, product = sums.tolist()
    nmse = difference / energy_x if energy_x else (0.0 if difference == 0 else float("inf"))
    equal_energy = abs(energy_x - energy_y) <= SAME * max(energy_x, energy_y)
    return TensorError(
        name=name,
        nmse=nmse,
        scale=product / energy_x if energy_x else float("nan"),
        source_energy=energy_x,
        energy=energy_y,
        same_values_elsewhere=nmse > SAME and equal_energy and _same_moments(pieces()),
        shift=total / count if count else 0.0,
        shift_share=total**2 / count / difference if difference else 0.0,
    )


def _sums(x: NDArray[numpy.float32], y: NDArray[numpy.float32]) -> NDArray[numpy.float64]:
    """Of (y - x)^2, y - x, x^2, y^2 and x y. Not by BLAS: for so few values its threads cost more than they compute."""
    a, b = x.astype(numpy.float64), y.astype(numpy.float64)
    d = b - a
    pairs = ((d, d), (a, a), (b, b), (a, b))
    squares, energy_x, energy_y, product = (numpy.einsum("i,i->", p, q) for p, q in pairs)
    return numpy.array([squares, d.sum(), energy_x, energy_y, product])


def _same_moments(pieces: Iterator[tuple[NDArray[numpy.float32], NDArray[numpy.float32]]]) -> bool:
    """True when sums of the cubes, fourth powers and magnitudes and the extremes agree: the same values, reordered.

    A second pass instead of sorting: its memory does not grow with the tensor.
    """
    sums = numpy.zeros((2, 3))
    extremes = numpy.array([[numpy.inf, -numpy.inf]] * 2)
    for pair in pieces:
        for row, values in enumerate(pair):
            v = values.astype(numpy.float64)
            square = v * v
            sums[row] += (numpy.abs(v).sum(), (square * v).sum(), (square * square).sum())
            if v.size:
                extremes[row] = min(extremes[row, 0], v.min()), max(extremes[row, 1], v.max())
    # The cubes may cancel: they are held against what they could have been.
    scale = numpy.maximum(numpy.abs(sums).max(axis=0), [0.0, numpy.sqrt(sums[:, 2].max() * sums[:, 0].max()), 0.0])
    return bool(numpy.all(numpy.abs(sums[0] - sums[1]) <= SAME * scale) and numpy.array_equal(*extremes))
