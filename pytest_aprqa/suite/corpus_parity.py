"""Logits against golden ones, at the tolerance of a level; what a mismatch is like. NaN never matches."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCES_FILE = Path(__file__).with_name("parity_tolerances.json")


class ToleranceError(ValueError):
    """No level of that name."""


@dataclass(frozen=True, slots=True)
class Level:
    """A logit is close when it differs by at most `atol + rtol |expected|`; `mismatch_ratio` of them need not be."""

    name: str
    atol: float
    rtol: float
    mismatch_ratio: float

    def bound(self, expected: float) -> float:
        """Largest difference from an expected logit that is still close."""
        return self.atol + self.rtol * abs(expected)


@dataclass(frozen=True, slots=True)
class LogitParity:
    """`mismatches` of `total` logits are not close; `largest` is infinite where one is NaN; `causes` of a mismatch."""

    total: int
    mismatches: int
    largest: float
    allowed: float
    causes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when no more logits mismatch than the level allows (an equal share passes), and nothing is biased."""
        return self.mismatches <= self.allowed * self.total and not self.causes

    def __str__(self) -> str:
        share = self.mismatches / self.total if self.total else 1.0
        text = f"{self.mismatches} of {self.total} logits ({share:.2%}) are not close, limit {self.allowed:.0%}"
        return text + f"; largest difference {self.largest:.3g}" + "".join(f"; {cause}" for cause in self.causes)


@cache
def tolerances() -> dict[str, Any]:
    """The whole table, with version and sources."""
    table: dict[str, Any] = json.loads(TOLERANCES_FILE.read_text(encoding="utf-8"))
    return table


def level_named(name: str) -> Level:
    """fp32, fp16, int8 or int4. ToleranceError names the levels that there are."""
    levels = tolerances()["levels"]
    if name not in levels:
        raise ToleranceError(f"tolerance: found {name!r}; one of {', '.join(levels)}")
    return Level(name, **levels[name])


def level_for(base_type: str) -> Level:
    """The level at which a file of a tensor type is judged unless the user names one."""
    table = tolerances()
    return level_named(table["types"].get(base_type, table["otherwise"]))


def compare(expected: Any, found: Any, level: Level) -> LogitParity:
    """Two float arrays; another shape is a mismatch of all values. Two empty ones match."""
    import numpy

    if expected.shape != found.shape:
        cause = f"shape {list(found.shape)}, expected {list(expected.shape)}"
        return LogitParity(max(expected.size, 1), max(expected.size, 1), math.inf, level.mismatch_ratio, (cause,))
    if not expected.size:
        return LogitParity(0, 0, 0.0, level.mismatch_ratio)
    x, y = expected.astype(numpy.float64).ravel(), found.astype(numpy.float64).ravel()
    difference = numpy.abs(y - x)
    close = difference <= level.atol + level.rtol * numpy.abs(x)  # NaN is not: every comparison with it is false
    finite = bool(numpy.isfinite(difference).all())
    largest = float(difference.max()) if finite else math.inf
    causes = tuple(_biases(x, y)) if finite else ("NaN or infinite logits",)
    return LogitParity(x.size, int((~close).sum()), largest, level.mismatch_ratio, causes)


def _biases(x: Any, y: Any) -> Sequence[str]:
    """Systematic shift, drift of the scale, lost correlation: each in words."""
    import numpy

    limits = tolerances()["bias"]
    spread = float(x.std())
    if not spread:
        return []
    found = []
    shift = float(y.mean() - x.mean())
    if abs(shift) > limits["shift_deviations"] * spread:
        found.append(f"systematic shift by {shift:.3g}")
    ratio = float(y.std()) / spread
    if abs(ratio - 1) > limits["scale_drift"]:
        found.append(f"scaled by {ratio:.3g}")
    if float(y.std()):
        correlation = float(numpy.corrcoef(x, y)[0, 1])
        if correlation < limits["least_correlation"]:
            found.append(f"correlation {correlation:.4f}")
    return found
