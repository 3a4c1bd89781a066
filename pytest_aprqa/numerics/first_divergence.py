"""The first layer at which two models part, from the hidden states that both give for the same tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

# NMSE of hidden states that is worth naming: half precision leaves about 1e-6 after some layers, 4 bits 1e-2 in all.
FLOOR = 1e-4
JUMP = 10.0  # growth of the error in one layer that its own weights explain, not what came in


def first_layer(reference: Iterable[NDArray[Any]], found: Iterable[NDArray[Any]]) -> tuple[int, float] | None:
    """(layer, NMSE of its states) where they part; layer 0 is the embedding. None: no layer stands out.

    Each array is [tokens, hidden]. NaN for the NMSE where the shapes differ or a state is not finite.
    """
    before = 0.0
    for layer, (a, b) in enumerate(zip(reference, found, strict=False)):
        if a.shape != b.shape:
            return layer, float("nan")
        x = a.astype(numpy.float64)
        energy = float((x * x).sum())
        error = float(((b - x) ** 2).sum()) / energy if energy else 0.0
        if not error <= max(FLOOR, JUMP * before):
            return layer, error
        before = error
    return None
