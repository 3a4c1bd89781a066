"""How far logits and greedy tokens of a file may be from its source's, by the type it is judged as; from one table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LIMITS_FILE = Path(__file__).with_name("behaviour_limits.json")


@dataclass(frozen=True, slots=True)
class BehaviourLimits:
    """`kld`: mean divergence, nats a token; `margin`: lead below which another token is no finding, nats."""

    kld: float
    margin: float
    perplexity_ratio: float


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(LIMITS_FILE.read_text(encoding="utf-8"))
    return table


def behaviour_limits(base_type: str) -> BehaviourLimits:
    """Limits for files of a tensor type. A type without an entry is judged like its neighbour, else like Q2_K."""
    table = _table()
    name = base_type if base_type in table["limits"] else table["like"].get(base_type, table["otherwise"])
    return BehaviourLimits(**table["limits"][name])
