"""The table of limits: one versioned JSON file, each number with its source, never a number in code."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

LIMITS_FILE = Path(__file__).with_name("limits.json")


class LimitError(ValueError):
    """No limit is known for a type, `dtype`."""

    def __init__(self, dtype: str, text: str) -> None:
        self.dtype = dtype
        super().__init__(text)


@cache
def limits_table() -> dict[str, Any]:
    """The whole table, with version and sources."""
    table: dict[str, Any] = json.loads(LIMITS_FILE.read_text(encoding="utf-8"))
    return table


# Storing a value of the key's type in one of these types loses nothing.
EXACT = {
    "F16": {"F16", "F32", "F64"},
    "BF16": {"BF16", "F32", "F64"},
    "F32": {"F32", "F64"},
    "F64": {"F64"},
}


ANY = "any"  # the row of noise floors that holds for every family
ABOVE_FLOOR = 2.0  # one bit width to the next is a step of 2 to 10


def noise_floor(dtype: str, family: str = ANY) -> float | None:
    """NMSE that a clean file of `dtype` was measured to have, in a family (`qwen2`) or in any; None: not measured."""
    row = limits_table()["noise_floor"].get(family)
    value = row["nmse"].get(dtype) if row is not None else None
    return None if value is None else float(value)


def limit_for(
    dtype: str, source_dtype: str | None = None, count: int | None = None, family: str | None = None
) -> float:
    """Largest NMSE of a tensor stored as `dtype` against its source; 0 where storing is exact.

    `count`: number of its values; the bound of rounding holds for few, where the mean of the type does not. `family`:
    architecture of the model; where its measured noise is larger than that of others, its limit is. Raises LimitError
    for an unknown type.
    """
    if source_dtype is not None and (dtype == source_dtype or dtype in EXACT.get(source_dtype, ())):
        return 0.0
    limits = limits_table()["limits"]
    if dtype not in limits:
        raise LimitError(
            dtype,
            f"{LIMITS_FILE.name}: no NMSE limit for type {dtype}; known: {', '.join(limits)}; add one with its source",
        )
    entry = limits[dtype]
    few = entry.get("few_values")
    if few is not None and count is not None and count <= few["up_to"]:
        entry = few
    own = noise_floor(dtype, family) if family is not None else None
    return max(float(entry["nmse"]), ABOVE_FLOOR * (own or 0.0))
