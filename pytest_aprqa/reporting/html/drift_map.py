"""The drift heat map: how far each tensor of each layer is from the source, for one artifact of one playbook."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import NO_PLAYBOOK, format_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

_OBSERVATION = re.compile(r"nmse\[(?P<tensor>.+)\]")
_LAYERED = re.compile(r"^(?:.*\.)?layers\.(?P<layer>\d{1,5})\.(?P<role>.+)$")
LEVELS = 6  # 0: exact; 1 to 4: 1e-9 of the limit up to the limit; 5: beyond the limit
_EXACT, _BEYOND = 0, LEVELS - 1


@dataclass(frozen=True, slots=True)
class DriftCell:
    """One tensor: its NMSE, the limit of its type, and the shade 0 (exact) to 5 (beyond the limit)."""

    tensor: str
    nmse: float
    limit: float
    level: int

    @property
    def text(self) -> str:
        """For a tooltip and for readers of the table."""
        return f"{self.tensor}: NMSE {self.nmse:.3g}, limit {self.limit:.3g}"


@dataclass(frozen=True, slots=True)
class DriftMap:
    """Rows are roles of tensors, columns layers; `single` are the tensors that belong to no layer."""

    title: str
    layers: list[int]
    rows: list[tuple[str, list[DriftCell | None]]]
    single: list[DriftCell]


def drift_maps(evidence: Sequence[Evidence]) -> list[DriftMap]:
    """One map per entry that observed `nmse[TENSOR]` with a limit; none where nothing was compared."""
    maps = []
    for entry in evidence:
        cells = [cell for value in entry.observed or () if (cell := _cell(value)) is not None]
        if cells:
            maps.append(_map(f"{entry.playbook or NO_PLAYBOOK}, {format_of(entry) or 'artifact'}", cells))
    return maps


def _cell(value: dict[str, Any]) -> DriftCell | None:
    match = _OBSERVATION.fullmatch(str(value.get("name")))
    if match is None:
        return None
    number, limit = _number(value.get("value")), _number(value.get("limit"))
    if number is None or limit is None:
        return None
    return DriftCell(match["tensor"], number, limit, _level(number, limit, value.get("passed")))


def _number(value: Any) -> float | None:
    """A number of evidence; "NaN" and "Infinity" are spelled as words there."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _level(nmse: float, limit: float, passed: Any) -> int:
    if passed is False or not nmse <= limit:
        return _BEYOND
    if nmse == 0:
        return _EXACT
    decades = math.log10(limit / nmse)  # 0 at the limit
    return max(1, _BEYOND - 1 - int(decades))


def _map(title: str, cells: list[DriftCell]) -> DriftMap:
    layered: dict[str, dict[int, DriftCell]] = {}
    single = []
    for cell in cells:
        match = _LAYERED.match(cell.tensor)
        if match is None:
            single.append(cell)
        else:
            layered.setdefault(match["role"], {})[int(match["layer"])] = cell
    layers = sorted({layer for row in layered.values() for layer in row})
    rows = [(role, [row.get(layer) for layer in layers]) for role, row in sorted(layered.items())]
    return DriftMap(title, layers, rows, single)
