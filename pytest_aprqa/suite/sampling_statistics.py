"""Do draws come from a distribution? Pearson's chi-square, in standard normal units, without a statistics library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_EXPECTED = 5.0  # draws of a bin; rarer outcomes share one (Cochran 1954)


@dataclass(frozen=True, slots=True)
class GoodnessOfFit:
    """`statistic` over `freedom`; `z` is how many standard deviations it lies above its mean."""

    statistic: float
    freedom: int
    z: float
    worst: int | None  # the outcome that adds most; None: the rare ones together


def probabilities(logits: Any, temperature: float, top_p: float = 1.0, *, cut_first: bool = False) -> Any:
    """float64 distribution of the next token: softmax at a temperature, then the smallest set that holds `top_p`.

    `cut_first`: the set is that of temperature 1, as llama.cpp takes it; the interface does not say which comes first.
    """
    import numpy

    weights = _softmax(logits, temperature)
    if top_p < 1:
        ranked = _softmax(logits, 1.0) if cut_first else weights
        order = numpy.argsort(-ranked, kind="stable")
        kept = int(numpy.searchsorted(numpy.cumsum(ranked[order]), top_p)) + 1
        weights[order[kept:]] = 0
        weights /= weights.sum()
    return weights


def share_between(weights: Any, least: float) -> float:
    """A `top_p` of at least about `least` in the middle of the last kept token's share: rounding decides nothing."""
    import numpy

    ordered = -numpy.sort(-weights)
    total = numpy.cumsum(ordered)
    last = min(int(numpy.searchsorted(total, least)), len(total) - 1)
    return float(total[last] - ordered[last] / 2)


def _softmax(logits: Any, temperature: float) -> Any:
    import numpy

    scaled = logits.astype(numpy.float64) / temperature
    weights = numpy.exp(scaled - scaled.max())
    return weights / weights.sum()


def fit(expected: Any, counts: Mapping[int, int]) -> GoodnessOfFit:
    """`expected`: probability of each outcome; `counts`: how often each was drawn. z is infinite for the impossible."""
    total = sum(counts.values())
    impossible = [one for one in counts if not 0 <= one < len(expected) or expected[one] <= 0]
    if impossible:
        return GoodnessOfFit(math.inf, 1, math.inf, impossible[0])
    frequent = [i for i, p in enumerate(expected) if p * total >= LEAST_EXPECTED]
    parts: list[tuple[float, int | None]] = [
        ((counts.get(i, 0) - expected[i] * total) ** 2 / (expected[i] * total), i) for i in frequent
    ]
    rest = total - sum(float(expected[i]) * total for i in frequent)
    if rest > LEAST_EXPECTED:
        drawn = total - sum(counts.get(i, 0) for i in frequent)
        parts.append(((drawn - rest) ** 2 / rest, None))
    freedom = len(parts) - 1
    if freedom < 1:
        return GoodnessOfFit(0.0, 0, 0.0, None)
    statistic = math.fsum(part for part, _ in parts)
    # Wilson and Hilferty 1931: the cube root of a chi-square over its freedom is very nearly normal.
    spread = 2 / (9 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return GoodnessOfFit(statistic, freedom, z, max(parts, key=lambda part: part[0])[1])
