"""The divergence plot: how many positions of an artifact's logits are how far from the source, by power of ten."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import NO_PLAYBOOK, format_of, scenario_field

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

_OBSERVATION = re.compile(r"positions\[kld from 1e(?P<power>[+-]\d{2})\]")
FIRST, LAST = -8, 1  # powers of ten on the axis, nats; what is below the first is in it
STEP, HEIGHT = 28, 100  # of one power on the axis, and of the tallest column, in units of the picture


@dataclass(frozen=True, slots=True)
class KldPlot:
    """`columns`: (power of ten, positions) of every power on the axis; the rest in nats, None unknown."""

    title: str
    columns: list[tuple[int, int]]
    mean: float | None
    error: float | None
    limit: float | None
    largest: float | None
    held: bool

    @property
    def step(self) -> int:
        """Width of one power of ten in the picture."""
        return STEP

    @property
    def width(self) -> int:
        """Of the picture."""
        return STEP * len(self.columns)

    @property
    def positions(self) -> int:
        """Positions that were compared."""
        return sum(count for _, count in self.columns)

    @property
    def shapes(self) -> list[tuple[int, float, float, str]]:
        """(x, y, height, words) of each column; heights grow with the logarithm, so that one position is seen."""
        tallest = math.log2(1 + max(count for _, count in self.columns))
        found = []
        for number, (power, count) in enumerate(self.columns):
            height = round(HEIGHT * math.log2(1 + count) / tallest, 1)
            words = f"{count} position{'' if count == 1 else 's'} {_range(power)}"
            found.append((number * STEP, round(HEIGHT - height, 1), height, words))
        return found

    @property
    def marks(self) -> list[tuple[str, float, str]]:
        """(name, x, side of the name) of the mean and of the limit; the names point away from each other."""
        values = [
            (name, place(value)) for name, value in (("mean", self.mean), ("limit", self.limit)) if value is not None
        ]
        ordered = sorted(values, key=lambda mark: mark[1])
        return [
            (name, x, "before" if number == 0 < len(ordered) - 1 else "after")
            for number, (name, x) in enumerate(ordered)
        ]

    @property
    def text(self) -> str:
        """The plot in words, for who cannot see it."""
        parts = [f"{self.positions} positions"]
        for name, value in (("mean", self.mean), ("standard error", self.error), ("limit", self.limit)):
            if value is not None:
                parts.append(f"{name} {value:.3g} nats")
        if self.largest is not None:
            parts.append(f"largest {self.largest:.3g} nats")
        return ", ".join(parts)


def place(value: float) -> float:
    """Where a divergence in nats stands on the axis; what is beyond it stands at its end."""
    power = math.log10(value) if value > 0 else FIRST
    return round(STEP * (min(max(power, FIRST), LAST + 1) - FIRST), 1)


def kld_plots(evidence: Sequence[Evidence]) -> list[KldPlot]:
    """One plot per entry that observed `positions[kld from 1eNN]`; none where no logits were compared."""
    plots = []
    for entry in evidence:
        values = {str(value.get("name")): value for value in entry.observed or ()}
        counts = dict.fromkeys(range(FIRST, LAST + 1), 0)
        for name, value in values.items():
            match, count = _OBSERVATION.fullmatch(name), value.get("value")
            if match and int(match["power"]) in counts and type(count) is int and count > 0:
                counts[int(match["power"])] += count
        if not any(counts.values()):
            continue
        names = (entry.playbook or NO_PLAYBOOK, format_of(entry), scenario_field(entry, "backend"))
        mean = values.get("mean_kld", {})
        plots.append(
            KldPlot(
                ", ".join(name for name in names if name),
                list(counts.items()),
                _number(mean.get("value")),
                _number(values.get("standard_error", {}).get("value")),
                _number(mean.get("limit")),
                _number(values.get("largest_kld", {}).get("value")),
                mean.get("passed") is not False,
            )
        )
    return plots


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value >= 0 else None


def _range(power: int) -> str:
    if power == FIRST:
        return f"below 1e{FIRST + 1} nats"
    return f"from 1e{power} nats" if power == LAST else f"from 1e{power} to 1e{power + 1} nats"
