"""Speed of each cell: median of the tokens per second of its answers, with the interval that half of them lie in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import format_of, scenario_field

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

SPEED, FIRST_TOKEN = "tokens_per_second", "time_to_first_token_ms"


@dataclass(frozen=True, slots=True)
class SpeedBar:
    """Values in `unit`; low and high are the quartiles; `share` values are 0 to 100 of the chart's largest value."""

    label: str
    unit: str
    count: int
    low: float
    median: float
    high: float
    largest: float

    @property
    def shares(self) -> tuple[float, float, float]:
        """Low, median and high in per cent of the largest value of the chart."""
        scale = 100 / self.largest if self.largest > 0 else 0.0
        return round(self.low * scale, 2), round(self.median * scale, 2), round(self.high * scale, 2)

    @property
    def text(self) -> str:
        """The numbers in words."""
        return (
            f"{self.label}: median {self.median:.4g} {self.unit}, half of {self.count} answers between"
            f" {self.low:.4g} and {self.high:.4g}"
        )


def speed_bars(evidence: Sequence[Evidence], metric: str = SPEED) -> list[SpeedBar]:
    """One bar per (format, backend, modality) with a measured answer; an answer that several checks saw counts once."""
    values: dict[str, dict[str, float]] = {}
    for entry in evidence:
        number = (entry.metrics or {}).get(metric)
        modality = scenario_field(entry, "modality")
        if not isinstance(number, (int, float)) or isinstance(number, bool) or modality is None:
            continue
        label = " ".join(filter(None, (format_of(entry), scenario_field(entry, "backend"), modality)))
        key = scenario_field(entry, "id") or entry.node_id or entry.id
        values.setdefault(label, {})[str(key)] = float(number)
    unit = "tokens/s" if metric == SPEED else "ms"
    measured = {label: _quartiles(list(numbers.values())) for label, numbers in values.items()}
    largest = max((high for _, _, high in measured.values()), default=0.0)
    return [
        SpeedBar(label, unit, len(values[label]), low, median, high, largest)
        for label, (low, median, high) in sorted(measured.items())
    ]


def _quartiles(numbers: list[float]) -> tuple[float, float, float]:
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return low, median, high
