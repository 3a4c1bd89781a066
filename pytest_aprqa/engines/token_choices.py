"""How likely a new token and its rivals were: log-softmax of the raw logits, before anything that shapes a draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy

from pytest_aprqa.engines.protocol import TokenChoice, TokenLogprob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_softmax(logits: NDArray[numpy.floating]) -> NDArray[numpy.float64]:
    """LOGITS [..., vocabulary] -> natural logarithms of the probabilities, float64 of the same shape."""
    wide = logits.astype(numpy.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    told: NDArray[numpy.float64] = wide - numpy.log(numpy.exp(wide).sum(axis=-1, keepdims=True))
    return told


def token_choice(
    logits: NDArray[numpy.floating], chosen: int, count: int, bytes_of: Callable[[int], bytes]
) -> TokenChoice:
    """The token CHOSEN from LOGITS [vocabulary] and the COUNT best ones, equal ones by their id."""
    values = log_softmax(logits)
    count = min(count, len(values))
    best = numpy.argpartition(-values, count - 1)[:count] if count else numpy.empty(0, int)
    ordered = sorted((int(token) for token in best), key=lambda token: (-values[token], token))

    def told(token: int) -> TokenLogprob:
        data = bytes_of(token)
        return TokenLogprob(data.decode("utf-8", errors="replace"), float(values[token]), token, list(data))

    return TokenChoice(told(chosen), [told(token) for token in ordered])
