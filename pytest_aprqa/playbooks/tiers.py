"""The five certification tiers: which part of a matrix each runs, and the score that passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier. `scenarios` is the smallest matrix that counts as this tier; None in the limits means all."""

    name: str
    scenarios: int
    threshold: int  # raw MQS, of 1000
    suffixes: tuple[str, ...]  # of the playbook's file name, in order of preference
    formats: tuple[str, ...] | None = None
    backends: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    per_cell: int | None = None  # scenarios of each matrix cell that run

    def reason_to_leave_out(
        self, format_name: str | None, backend: str | None, modality: str | None, scenario: Scenario | None
    ) -> str | None:
        """Why an item is outside this tier, or None. None for a part that the item does not distinguish."""
        for value, allowed in ((format_name, self.formats), (backend, self.backends), (modality, self.modalities)):
            if value is not None and allowed is not None and value not in allowed:
                return f"tier {self.name} runs {'/'.join(allowed)} only, not {value}"
        if scenario is not None and self.per_cell is not None and scenario.index >= self.per_cell:
            return f"tier {self.name} runs the first {self.per_cell} of each cell, this is number {scenario.index + 1}"
        return None


TIERS: tuple[Tier, ...] = (
    Tier("smoke", 1, 700, ("-smoke",), ("safetensors",), ("cpu",), ("run",), per_cell=3),
    Tier("mvp", 18, 700, ("-mvp",), per_cell=1),
    Tier("quick", 10, 700, ("", "-quick"), per_cell=10),
    Tier("standard", 170, 700, ("",), per_cell=25),
    Tier("deep", 1800, 900, ("",)),
)
DEFAULT_TIER = "quick"
# Words of other documents; `full` is deep there, and a user should be told so.
ALIASES = {"full": "deep"}
# Words that end the names of playbooks (section 6 of their specification) and stand in `metadata.tier`.
DECLARED = {"ci": "quick", "nightly": "standard", "release": "deep"}


def parse_tier(text: str) -> Tier:
    """The tier of a name, in any case; `full` is an alias of deep. ValueError names the five."""
    word = text.strip().lower()
    for tier in TIERS:
        if tier.name == ALIASES.get(word, word):
            return tier
    raise ValueError(f"Unknown tier: {text}. Use: {', '.join(tier.name for tier in TIERS)}")


def declared_tier(word: str) -> Tier:
    """The tier by which a playbook that declares WORD in `metadata.tier` is judged. ValueError names all words."""
    try:
        return parse_tier(DECLARED.get(word.strip().lower(), word))
    except ValueError:
        words = [tier.name for tier in TIERS] + sorted({*ALIASES, *DECLARED})
        raise ValueError(f"Unknown tier: {word}. Use: {', '.join(words)}") from None
