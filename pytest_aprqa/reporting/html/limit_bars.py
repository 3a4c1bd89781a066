"""How near each measured number came to its limit, on one scale: the share of the limit that was used."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import case_name, observed_text

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

MOST = 200  # bars; those nearest to their limit
DECADES = 9  # of the scale below the limit


@dataclass(frozen=True, slots=True)
class LimitBar:
    """One number: `share` is 0 (nine decades below the limit) to 100 (at the limit or beyond)."""

    item: str
    name: str
    text: str
    share: float
    held: bool


def limit_bars(evidence: Sequence[Evidence]) -> list[LimitBar]:
    """Observed fractions with a positive upper limit, nearest to the limit first; counts and equalities are no bars.

    `nmse[TENSOR]` is shown by the drift map.
    """
    nearest: list[tuple[bool, float, int, Evidence, dict[str, Any]]] = []
    for entry in evidence:
        for value in entry.observed or ():
            share = _share(value)
            if share is not None and not str(value.get("name")).startswith("nmse["):
                nearest.append((value.get("passed") is not False, -share, len(nearest), entry, value))
    return [
        LimitBar(case_name(entry), str(value.get("name")), observed_text(value), -share, held)
        for held, share, _, entry, value in heapq.nsmallest(MOST, nearest, key=lambda one: one[:3])
    ]


def _share(value: dict[str, Any]) -> float | None:
    number, limit = _finite(value.get("value")), _finite(value.get("limit"))
    if number is None or limit is None or value.get("passed") is None or limit <= 0 or number < 0:
        return None
    if math.isclose(number, limit, rel_tol=1e-4) or (number < limit) is not (value["passed"] is True):
        return None  # an equality, or a minimum: not on this scale
    if number == 0:
        return 0.0
    decades = math.log10(number / limit)
    return round(max(0.0, min(100.0, 100 * (1 + decades / DECADES))), 2)


def _finite(value: Any) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None
