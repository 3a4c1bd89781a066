"""The error of one tensor against its source, with a hint at the cause: permuted, transposed, scaled, shifted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

SCALED_FROM = 0.01  # deviation of the best scale from 1 that is worth naming
UNEXPLAINED = 0.05  # share of the energy that a scale may leave unexplained (noise of few bits) and still be the cause
SHIFT_EXPLAINS = 0.99  # share of the error that one constant must explain to be the cause
SAME = 1e-9  # relative difference below which two sums count as equal when looking for a cause


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
    """Compare one tensor of two artifacts in canonical form; float64 sums. Shapes must agree, else `cause` says so."""
    expected, found = source.entry(name).shape, target.entry(name).shape
    if expected != found:
        nan = float("nan")
        return TensorError(name, nan, nan, nan, nan, False, f"shape {list(found)}, source has {list(expected)}")
    return tensor_error(name, source.read(name), target.read(name))


def tensor_error(name: str, source: NDArray[numpy.float32], target: NDArray[numpy.float32]) -> TensorError:
    """NMSE = sum((y - x)^2) / sum(x^2); 0 for two zero tensors, infinity for a zero source with other target."""
    x, y = source.ravel(), target.ravel()
    difference = energy_x = energy_y = product = total = 0.0
    step = 1 << 20
    for start in range(0, x.size, step):
        a = x[start : start + step].astype(numpy.float64)
        b = y[start : start + step].astype(numpy.float64)
        d = b - a
        difference += float(d @ d)
        total += float(d.sum())
        energy_x += float(a @ a)
        energy_y += float(b @ b)
        product += float(a @ b)
    nmse = difference / energy_x if energy_x else (0.0 if difference == 0 else float("inf"))
    return TensorError(
        name=name,
        nmse=nmse,
        scale=product / energy_x if energy_x else float("nan"),
        source_energy=energy_x,
        energy=energy_y,
        same_values_elsewhere=nmse > 0 and _same_multiset(x, y, energy_x, energy_y),
        shift=total / x.size if x.size else 0.0,
        shift_share=total**2 / x.size / difference if difference else 0.0,
    )


def _same_multiset(x: NDArray[numpy.float32], y: NDArray[numpy.float32], energy_x: float, energy_y: float) -> bool:
    if abs(energy_x - energy_y) > SAME * max(energy_x, energy_y):
        return False
    return bool(numpy.array_equal(numpy.sort(x), numpy.sort(y)))
