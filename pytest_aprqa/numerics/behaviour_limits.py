"""How far logits and greedy tokens of a file may be from its source's, by the type of the file; from the one table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_aprqa.numerics.limits import limits_table

STANDARD_DEVIATIONS = 3


@dataclass(frozen=True, slots=True)
class BehaviourLimits:
    """`kld`: mean divergence, nats a token; `margin`: lead below which another token is no finding, nats.

    `beyond_margin`: share of positions, 0 to 1, at which a clean file has another best token in spite of the margin;
    `parted_answers`: share of greedy answers that part from the source's so.
    """

    kld: float
    margin: float
    perplexity_ratio: float
    beyond_margin: float = 0.0
    parted_answers: float = 0.0

    def allowed_beyond(self, positions: int) -> int:
        """How many of POSITIONS may differ beyond the margin: the share, and three standard deviations of its count."""
        return _at_most(self.beyond_margin * positions)

    def allowed_answers(self, answers: int) -> int:
        """How many of ANSWERS may part beyond the margin; likewise."""
        return _at_most(self.parted_answers * answers)


def _at_most(expected: float) -> int:
    """The largest count that chance explains where EXPECTED is the mean."""
    return int(expected + STANDARD_DEVIATIONS * math.sqrt(expected))


def behaviour_limits(base_type: str) -> BehaviourLimits:
    """Limits for files of a tensor type. A type without an entry is judged like its neighbour, else like Q2_K."""
    table = limits_table()["behaviour"]
    name = base_type if base_type in table["limits"] else table["like"].get(base_type, table["otherwise"])
    return BehaviourLimits(**table["limits"][name])
