"""Two models over the same tokens, teacher-forced: divergence of their distributions, best tokens, perplexities."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from pytest_aprqa.numerics import row_divergence as rows_of_logits

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from pytest_aprqa.numerics.row_divergence import RowDivergence

SMALLEST_DECADE, LARGEST_DECADE = -8, 1  # of the histogram: below is rounding of float32 logits, above is anything


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A position where the best tokens differ; `margin`: by how much the reference's led there, nats."""

    sequence: int
    position: int
    expected: int
    found: int
    margin: float


@dataclass(slots=True)
class LogitDistance:
    """Sums over all positions; natural logarithms. `worst` is (sequence, position, divergence).

    `predicted` and the losses leave out sequences on which the reference is worse than chance. `decades`: positions by
    the power of ten of their divergence in nats; the first holds all below it, the last all above.
    """

    tokens: int = 0
    total: float = 0.0
    squares: float = 0.0
    worst: tuple[int, int, float] = (0, 0, 0.0)
    predicted: int = 0
    loss_reference: float = 0.0
    loss: float = 0.0
    disagreements: list[Disagreement] | None = None
    not_finite: int = 0
    decades: dict[int, int] = field(default_factory=dict)

    @property
    def mean_kld(self) -> float:
        """Mean KL divergence of the model from the reference, nats a token."""
        return self.total / self.tokens if self.tokens else 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        if self.tokens < 2:
            return 0.0
        variance = max(0.0, self.squares / self.tokens - self.mean_kld**2) * self.tokens / (self.tokens - 1)
        return math.sqrt(variance / self.tokens)

    @property
    def top1_agreement(self) -> float:
        """Share of positions at which both have the same best token."""
        return 1 - len(self.disagreements or ()) / self.tokens if self.tokens else 0.0

    @property
    def perplexity_reference(self) -> float:
        """exp of the reference's mean loss on the next token."""
        return math.exp(self.loss_reference / self.predicted) if self.predicted else float("nan")

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the model over that of the reference; infinite where it does not fit a float."""
        if not self.predicted:
            return 1.0
        difference = (self.loss - self.loss_reference) / self.predicted
        return math.exp(difference) if difference < 700 else math.inf


def compare_logits(
    triples: Iterable[tuple[Sequence[int], NDArray[numpy.float32], NDArray[numpy.float32]]],
    *,
    first: int = 0,
    threads: int | None = None,
) -> LogitDistance:
    """(ids, reference logits, logits) of each sequence -> distance; both arrays are [rows, vocabulary].

    The rows are those of the positions from `first` on, len(ids) - first, or one less: the last position predicts no
    id. `threads`: default all cores; the result does not depend on it. ValueError when the shapes differ.
    Positions with a logit that is not finite count as not finite, nothing else.
    """
    result = LogitDistance(disagreements=[])
    count, logits = threads or os.cpu_count() or 1, 0
    with ThreadPoolExecutor(count) as pool:
        for number, (ids, reference, found) in enumerate(triples):
            rows = len(ids) - first
            if reference.shape != found.shape or reference.ndim != 2 or rows - len(reference) not in (0, 1):
                raise ValueError(
                    f"logits of {rows} tokens: reference {list(reference.shape)}, found {list(found.shape)}"
                )
            if len(reference):
                following = [*ids[first + 1 : first + 1 + len(reference)], -1][: len(reference)]
                targets = numpy.asarray(following, numpy.int64)
                logits += reference.size
                compiled = rows_of_logits.compiled_loops() if logits >= rows_of_logits.WORTH_COMPILING else None
                _add(result, number, first, _divergence(pool, reference, found, targets, compiled))
    return result


def _divergence(
    pool: ThreadPoolExecutor,
    reference: NDArray[Any],
    found: NDArray[Any],
    targets: NDArray[numpy.int64],
    compiled: ModuleType | None,
) -> RowDivergence:
    """Of all rows, in pieces that stay in a core's cache, on the threads of the pool."""
    step = rows_of_logits.rows_of_a_piece(reference.shape[1], compiled)
    pieces = [slice(at, at + step) for at in range(0, len(reference), step)]

    def one(piece: slice) -> RowDivergence:
        return rows_of_logits.row_divergence(reference[piece], found[piece], targets[piece], compiled)

    return rows_of_logits.joined(pool.map(one, pieces))


def _add(result: LogitDistance, number: int, first: int, rows: RowDivergence) -> None:
    result.not_finite += int((~rows.finite).sum())
    sound = numpy.flatnonzero(rows.finite)
    if not sound.size:
        return
    divergence = rows.divergence[sound]
    result.tokens += sound.size
    result.total += float(divergence.sum())
    result.squares += float(divergence @ divergence)
    powers = numpy.floor(numpy.log10(numpy.maximum(divergence, 10.0**SMALLEST_DECADE)))
    for power in numpy.clip(powers, SMALLEST_DECADE, LARGEST_DECADE).astype(int).tolist():
        result.decades[power] = result.decades.get(power, 0) + 1
    at = int(divergence.argmax())
    if divergence[at] > result.worst[2]:
        result.worst = (number, first + int(sound[at]), float(divergence[at]))
    assert result.disagreements is not None
    for row in sound[rows.best[sound, 0] != rows.best[sound, 1]].tolist():
        expected, other = rows.best[row].tolist()
        result.disagreements.append(Disagreement(number, first + row, expected, other, float(rows.margin[row])))
    predicted = sound[rows.predicts[sound]]
    loss, loss_found = rows.losses[predicted].sum(axis=0).tolist()
    # Where the source itself is worse than chance on a text, a perplexity on it says nothing.
    if predicted.size and loss <= predicted.size * math.log(rows.vocabulary):
        result.predicted += predicted.size
        result.loss_reference += loss
        result.loss += loss_found
