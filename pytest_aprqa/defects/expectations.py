"""For each seeded defect: the gates that may kill it, and words that the cause they give must have."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expectation:
    """`gates`: gate ids (with `?` for the category of a scenario); `words`: a pattern found in the cause, any case."""

    gates: tuple[str, ...]
    words: str

    def matches(self, cause: str) -> bool:
        """True when the cause has the words."""
        return re.search(self.words, cause, re.IGNORECASE) is not None


EXPECTATIONS: dict[str, Expectation] = {}


def expectation_of(name: str) -> Expectation:
    """What must name the defect. KeyError: the catalogue has a defect without an expectation."""
    return EXPECTATIONS.get(name, Expectation(("*",), "."))
