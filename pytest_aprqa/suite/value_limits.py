"""The largest error that a tensor of a file may have: by its type, and by what its format does to the values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import OpenArtifact


def value_limit(source: OpenArtifact, target: OpenArtifact, name: str, family: str | None = None) -> float:
    """Largest NMSE of NAME in TARGET; 0 where storing is exact. LimitError: a type without a limit.

    GGUF files of some families hold norms with one added: the sum is rounded to float32, and the way back shows it.
    """
    from pytest_aprqa.formats.stored_order import Order, order_of
    from pytest_aprqa.numerics.limits import limit_for, limits_table

    stored = target.tensors.entry(name)
    limit = limit_for(stored.dtype, source.tensors.entry(name).dtype, math.prod(stored.shape), family)
    if target.format == "gguf" and order_of(name, target.config.architecture) is Order.ONE_ADDED:
        return max(limit, float(limits_table()["one_added"]["nmse"]))
    return limit
