"""Divergence of two rows of logits, many rows at once: few passes over buffers, sums of pieces in float64.

Large vocabularies in float32: an exponential is rounded by 1e-7 of its value, which averages out to 1e-8 nats a row.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE = 1 << 16  # logits of one model at once: with two buffers 1 MiB, a usual second cache
WIDE_UP_TO = 1 << 14  # vocabulary computed in float64: few terms average nothing out, and cost little
COMPILED_PIECE = 1 << 20  # the compiled loops need no buffers: larger pieces save calls
WORTH_COMPILING = 1 << 25  # logits from which loading (the first time: compiling) the compiled loops pays
SUMMED = 1 << 10  # values that are summed in float32 before float64 takes over
_BUFFERS = threading.local()


@dataclass(frozen=True, slots=True)
class RowDivergence:
    """By row. `divergence`: nats; `best` [rows, 2]: best token of reference and found; `margin`: by how much the
    reference's best led the other's, nats; `losses` [rows, 2]: nats of the target where the row `predicts` one;
    `finite`: False where a logit is NaN or infinite, all else of that row means nothing."""

    vocabulary: int
    finite: NDArray[numpy.bool_]
    divergence: NDArray[numpy.float64]
    best: NDArray[numpy.int64]
    margin: NDArray[numpy.float64]
    predicts: NDArray[numpy.bool_]
    losses: NDArray[numpy.float64]


def rows_of_a_piece(vocabulary: int, compiled: ModuleType | None = None) -> int:
    """Rows to hand to `row_divergence` at once."""
    return max(1, (PIECE if compiled is None else COMPILED_PIECE) // max(vocabulary, 1))


@cache
def compiled_loops() -> ModuleType | None:
    """The compiled loops, where numba is installed (extra `fast`)."""
    try:
        return import_module("pytest_aprqa.numerics.compiled_divergence")
    except ImportError:
        return None


def joined(pieces: Iterable[RowDivergence]) -> RowDivergence:
    """Pieces of one sequence as one, in their order; at least one."""
    all_of = list(pieces)
    fields = ("finite", "divergence", "best", "margin", "predicts", "losses")
    return RowDivergence(
        all_of[0].vocabulary, *(numpy.concatenate([getattr(one, name) for one in all_of]) for name in fields)
    )


def row_divergence(
    a: NDArray[Any], b: NDArray[Any], targets: NDArray[numpy.int64], compiled: ModuleType | None = None
) -> RowDivergence:
    """Rows of the reference A and of B, float32 [rows, vocabulary]; `targets`: the next id, -1 for none.

    KL(p || q) = sum(p (x - y)) - log sum(exp x) + log sum(exp y), with x and y the logits less their largest.
    `compiled`: `compiled_loops()`, for large vocabularies; the figures are the same.
    """
    index = numpy.arange(len(a))
    best = numpy.stack([a.argmax(axis=1), b.argmax(axis=1)], axis=1)
    most_a, most_b = a[index, best[:, 0]], b[index, best[:, 1]]
    with numpy.errstate(all="ignore"):  # of what is not finite; those rows are looked at again below
        if compiled is not None and a.shape[1] > WIDE_UP_TO:
            sum_a, sum_b, weighted = compiled.sums(a, b, most_a, most_b)
        else:
            sum_a, sum_b, weighted = _sums_of_exponentials(a, b, most_a, most_b)
        log_a, log_b = numpy.log(sum_a), numpy.log(sum_b)
        divergence = numpy.maximum(weighted / sum_a - log_a + log_b, 0.0)
        predicts = targets >= 0
        at = numpy.where(predicts, targets, 0)
        losses = numpy.stack([log_a - _above(a, at, most_a), log_b - _above(b, at, most_b)], axis=1)
    margin = -_above(a, best[:, 1], most_a)
    finite = numpy.isfinite(divergence)
    result = RowDivergence(a.shape[1], finite, divergence, best, margin, predicts, losses)
    for row in numpy.flatnonzero(~finite).tolist():
        _wide(result, row, a[row], b[row], int(at[row]))
    return result


def _sums_of_exponentials(
    a: NDArray[Any], b: NDArray[Any], most_a: NDArray[Any], most_b: NDArray[Any]
) -> tuple[NDArray[numpy.float64], ...]:
    """By row: sum(e^x), sum(e^y) and sum(e^x (x - y))."""
    x, y, difference = _buffers(a.shape)
    numpy.subtract(a, most_a[:, None], out=x, dtype=x.dtype)
    numpy.subtract(b, most_b[:, None], out=y, dtype=y.dtype)
    numpy.subtract(x, y, out=difference)
    numpy.exp(x, out=x)
    numpy.exp(y, out=y)
    return _sums(x), _sums(y), _sums(x, difference)


def _above(values: NDArray[Any], at: NDArray[numpy.int64], most: NDArray[Any]) -> NDArray[numpy.float64]:
    """values[row, at] less the largest of its row, exact in float64."""
    picked = values[numpy.arange(len(values)), at].astype(numpy.float64)
    with numpy.errstate(invalid="ignore"):
        difference: NDArray[numpy.float64] = picked - most.astype(numpy.float64)
    return difference


def _sums(x: NDArray[Any], other: NDArray[Any] | None = None) -> NDArray[numpy.float64]:
    """Sum of each row of X (times OTHER): pieces of SUMMED values in their own type, the pieces in float64."""
    rows, columns = x.shape
    whole = columns // SUMMED * SUMMED
    total = numpy.zeros(rows, numpy.float64)
    for part, shape in ((slice(0, whole), (rows, -1, SUMMED)), (slice(whole, columns), (rows, 1, columns - whole))):
        if part.start == part.stop:
            continue
        piece = x[:, part].reshape(shape)
        weights = None if other is None else other[:, part].reshape(shape)
        sums = piece.sum(axis=2) if weights is None else numpy.einsum("ijk,ijk->ij", piece, weights)
        total += sums.sum(axis=1, dtype=numpy.float64)
    return total


def _wide(result: RowDivergence, row: int, a: NDArray[Any], b: NDArray[Any], target: int) -> None:
    """One row again in float64: finite logits whose differences do not fit float32 are still compared."""
    if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return
    log_p, log_q = _log_softmax(a), _log_softmax(b)
    result.finite[row] = True
    result.divergence[row] = float(numpy.exp(log_p) @ (log_p - log_q))
    result.losses[row] = -log_p[target], -log_q[target]


def _log_softmax(logits: NDArray[Any]) -> NDArray[numpy.float64]:
    values = logits.astype(numpy.float64)
    values -= values.max()
    shifted: NDArray[numpy.float64] = values - numpy.log(numpy.exp(values).sum())
    return shifted


def _buffers(shape: tuple[int, ...]) -> NDArray[Any]:
    """Three arrays of a shape, [3, *shape]: memory of this thread, used again for every piece."""
    dtype = numpy.float64 if shape[1] <= WIDE_UP_TO else numpy.float32
    size = 3 * math.prod(shape)
    kept: NDArray[Any] | None = getattr(_BUFFERS, "kept", None)
    if kept is None or kept.size < size or kept.dtype != dtype:
        kept = _BUFFERS.kept = numpy.empty(size, dtype)
    return kept[:size].reshape(3, *shape)
