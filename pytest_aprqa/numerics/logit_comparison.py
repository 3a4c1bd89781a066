"""Two models over the same tokens, teacher-forced: divergence of their distributions, best tokens, perplexities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 64  # of logits in float64 at once
SMALLEST_DECADE, LARGEST_DECADE = -12, 1  # of the histogram: below is rounding of float32 logits, above is anything


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
) -> LogitDistance:
    """(ids, reference logits, logits) of each sequence -> distance; both arrays are [len(ids), vocabulary].

    ValueError when the shapes differ. Positions with a logit that is not finite count as not finite, nothing else.
    """
    result = LogitDistance(disagreements=[])
    for number, (ids, reference, found) in enumerate(triples):
        if reference.shape != found.shape or len(ids) != len(reference):
            raise ValueError(
                f"logits of {len(ids)} tokens: reference {list(reference.shape)}, found {list(found.shape)}"
            )
        before = (result.predicted, result.loss_reference, result.loss)
        for start in range(0, len(ids), _ROWS):
            piece = slice(start, start + _ROWS)
            _add(result, number, start, ids, reference[piece], found[piece])
        predicted = result.predicted - before[0]
        if predicted and (result.loss_reference - before[1]) / predicted > math.log(reference.shape[1]):
            # The source itself is worse than chance on this text: a perplexity on it says nothing.
            result.predicted, result.loss_reference, result.loss = before
    return result


def _add(result: LogitDistance, number: int, start: int, ids: Sequence[int], a: Any, b: Any) -> None:
    sound = numpy.isfinite(a).all(axis=1) & numpy.isfinite(b).all(axis=1)
    result.not_finite += int((~sound).sum())
    positions = numpy.flatnonzero(sound) + start
    if not positions.size:
        return
    log_p, log_q = _log_softmax(a[sound]), _log_softmax(b[sound])
    divergence = numpy.einsum("ij,ij->i", numpy.exp(log_p), log_p - log_q)
    result.tokens += positions.size
    result.total += float(divergence.sum())
    result.squares += float(divergence @ divergence)
    powers = numpy.floor(numpy.log10(numpy.maximum(divergence, 10.0**SMALLEST_DECADE)))
    for power in numpy.clip(powers, SMALLEST_DECADE, LARGEST_DECADE).astype(int).tolist():
        result.decades[power] = result.decades.get(power, 0) + 1
    at = int(divergence.argmax())
    if divergence[at] > result.worst[2]:
        result.worst = (number, int(positions[at]), float(divergence[at]))
    best_p, best_q = log_p.argmax(axis=1), log_q.argmax(axis=1)
    for row in numpy.flatnonzero(best_p != best_q):
        margin = float(log_p[row, best_p[row]] - log_p[row, best_q[row]])
        assert result.disagreements is not None
        result.disagreements.append(
            Disagreement(number, int(positions[row]), int(best_p[row]), int(best_q[row]), margin)
        )
    following = [(row, ids[p + 1]) for row, p in enumerate(positions.tolist()) if p + 1 < len(ids)]
    if following:
        rows, targets = (list(part) for part in zip(*following, strict=True))
        result.predicted += len(rows)
        result.loss_reference -= float(log_p[rows, targets].sum())
        result.loss -= float(log_q[rows, targets].sum())


def _log_softmax(logits: Any) -> NDArray[numpy.float64]:
    values = logits.astype(numpy.float64)
    values -= values.max(axis=1, keepdims=True)
    shifted: NDArray[numpy.float64] = values - numpy.log(numpy.exp(values).sum(axis=1, keepdims=True))
    return shifted
