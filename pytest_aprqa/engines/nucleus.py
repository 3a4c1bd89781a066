"""The nucleus of a distribution: the smallest set of tokens that holds a share of the probability (top-p sampling).

Holtzman et al. 2020, The Curious Case of Neural Text Degeneration; the token that reaches the share belongs to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nucleus(weights: NDArray[numpy.float64], share: float) -> NDArray[numpy.float64]:
    """WEIGHTS [vocabulary] with sum 1 -> the same with sum 1 and 0 outside the nucleus; SHARE above 0, at most 1."""
    if share >= 1:
        return weights
    order = numpy.argsort(-weights, kind="stable")
    before = numpy.cumsum(weights[order]) - weights[order]
    kept = numpy.zeros_like(weights)
    inside = order[before < share]  # the first always is
    kept[inside] = weights[inside]
    result: NDArray[numpy.float64] = kept / kept.sum()
    return result
