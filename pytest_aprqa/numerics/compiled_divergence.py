"""Sums of the divergence of two rows of logits as one compiled loop (numba, the extra `fast`): each logit is read once.

Importing this module needs numba. `row_divergence` gives the same figures without it.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

_FLAGS = {"reassoc", "contract", "nsz"}  # NaN and infinity keep their meaning
_SUMMED = 1 << 10  # values that are summed in float32 before float64 takes over
_LOG2_E, _LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
_LEAST = np.float32(-87.0)  # e^x of less is no normal float32; taken as 0
_ONE, _HALF, _NOTHING = np.float32(1), np.float32(0.5), np.float32(0)
# e^r = 1 + r + r^2 P(r) for |r| <= ln(2) / 2: P is the Taylor polynomial of degree 5, its remainder below 2e-8.
_P0, _P1, _P2, _P3, _P4, _P5 = (np.float32(1 / n) for n in (5040, 720, 120, 24, 6, 2))


@numba.njit(nogil=True, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x of a float32 of at most 0, within 2 units in the last place; no branch, so that the compiler uses vectors."""
    power = np.int32(max(x, _LEAST) * _LOG2_E - _HALF)  # towards zero: the nearest whole number
    r = max(x, _LEAST) - np.float32(power) * _LN_2
    p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    scale = np.int32((power + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + _ONE) * scale if x >= _LEAST else _NOTHING


@numba.njit(nogil=True, cache=True, fastmath=_FLAGS, error_model="numpy")
def _sums(a, b, most_a, most_b, figures):  # type: ignore[no-untyped-def]
    for row in range(a.shape[0]):
        top_a, top_b = most_a[row], most_b[row]
        sum_a = sum_b = weighted = 0.0
        for start in range(0, a.shape[1], _SUMMED):
            u, v = a[row, start : start + _SUMMED], b[row, start : start + _SUMMED]
            s = t = w = _NOTHING
            for i in range(u.size):
                x, y = u[i] - top_a, v[i] - top_b
                p = _exp(x)
                s += p
                t += _exp(y)
                w += p * (x - y)
            sum_a += float(s)
            sum_b += float(t)
            weighted += float(w)
        figures[0, row], figures[1, row], figures[2, row] = sum_a, sum_b, weighted


def sums(
    a: NDArray[np.float32], b: NDArray[np.float32], most_a: NDArray[np.float32], most_b: NDArray[np.float32]
) -> NDArray[np.float64]:
    """[3, rows] of two arrays [rows, vocabulary] and the largest logit of each row.

    sum(e^x), sum(e^y) and sum(e^x (x - y)), with x and y the logits less their largest. The last is not finite where a
    logit is not, or a difference does not fit float32.
    """
    figures = np.empty((3, len(a)))
    _sums(a, b, most_a, most_b, figures)
    return figures
