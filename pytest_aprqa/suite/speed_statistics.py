"""Is it slower than it was? Ratio of two medians with a bootstrap interval, and the smallest loss that is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
CONFIDENCE, POWER = 0.95, 0.8
FEWEST = 3  # samples a side; fewer have no spread to speak of


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """`ratio` of the medians, now over before, with its interval `low` to `high` at 95 %.

    `detectable`: a loss of this share or more would have been reported with 80 % power, for the allowed loss given.
    """

    ratio: float
    low: float
    high: float
    detectable: float

    def is_loss_beyond(self, allowed: float) -> bool:
        """True when the whole interval lies below `1 - allowed`: noise alone does not explain it."""
        return self.high < 1 - allowed


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def change(before: Sequence[float], now: Sequence[float], allowed: float, seed: int = 0) -> SpeedChange:
    """Compare samples of speed (higher is better). ValueError for fewer than FEWEST samples, or one that is not > 0."""
    import numpy

    for name, values in (("baseline", before), ("measured", now)):
        if len(values) < FEWEST or not all(math.isfinite(v) and v > 0 for v in values):
            raise ValueError(f"{name}: {len(values)} samples, at least {FEWEST} finite ones above 0 are needed")
    random = numpy.random.default_rng(seed)
    ratio = median(now) / median(before)
    drawn = [
        numpy.median(random.choice(numpy.asarray(side, numpy.float64), (RESAMPLES, len(side))), axis=1)
        for side in (now, before)
    ]
    ratios = drawn[0] / drawn[1]
    low, high = (float(numpy.quantile(ratios, q)) for q in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    # With a true ratio t the median ratio is t times the noise, and the interval's end `high / ratio` times as far.
    noise = float(numpy.quantile(ratios, POWER)) / ratio
    detectable = 1 - (1 - allowed) / (max(noise, 1.0) * max(high / ratio, 1.0))
    return SpeedChange(ratio, low, high, detectable)
