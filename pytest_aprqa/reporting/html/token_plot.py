"""The token plot: for each kind of text of the tokenizer battery, how many texts an artifact splits as its source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import NO_PLAYBOOK, format_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

_OBSERVATION = re.compile(r"texts_alike\[(?P<kind>.+)\]")


@dataclass(frozen=True, slots=True)
class TokenBar:
    """Texts of one kind; `share` is 0 to 100 per cent of them."""

    kind: str
    alike: int
    total: int

    @property
    def share(self) -> float:
        """Texts that came out alike, per cent."""
        return round(100 * self.alike / self.total, 2)


@dataclass(frozen=True, slots=True)
class TokenPlot:
    """The battery over one artifact of one playbook."""

    title: str
    bars: list[TokenBar]


def token_plots(evidence: Sequence[Evidence]) -> list[TokenPlot]:
    """One plot per entry that observed `texts_alike[KIND]` of a total; none where no tokenizer was compared."""
    plots = []
    for entry in evidence:
        bars = []
        for value in entry.observed or ():
            match = _OBSERVATION.fullmatch(str(value.get("name")))
            alike, total = value.get("value"), value.get("limit")
            if match and type(alike) is int and type(total) is int and 0 <= alike <= total and total:
                bars.append(TokenBar(match["kind"], alike, total))
        if bars:
            plots.append(TokenPlot(f"{entry.playbook or NO_PLAYBOOK}, {format_of(entry) or 'artifact'}", bars))
    return plots
