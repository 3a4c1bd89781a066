"""The certification tiers of tiers.yaml: which part of a matrix each runs, and the score that passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.document import Document
    from pytest_aprqa.playbooks.scenarios import Scenario

TIERS_FILE = Path(__file__).with_name("tiers.yaml")
SCHEMA_FILE = Path(__file__).with_name("tiers.schema.json")


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier. `scenarios` must have run for a run to count as this tier; None in the limits means all."""

    name: str
    scenarios: int
    threshold: int  # raw MQS, of 1000
    suffixes: tuple[str, ...]  # of the playbook's file name, in order of preference
    new_count: int  # scenarios of each cell in a playbook that bootstrap writes
    new_speeds: bool  # it also measures speeds and compares formats
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


@dataclass(frozen=True, slots=True)
class TierTable:
    """The whole file. `aliases` stand for a tier wherever one is named, `declared` in playbooks only."""

    version: str
    tiers: tuple[Tier, ...]
    default: str
    aliases: Mapping[str, str]
    declared: Mapping[str, str]


@cache
def tier_table() -> TierTable:
    """The packaged table. PlaybookError: the file is missing or wrong, with line and key."""
    return read_tiers(TIERS_FILE)


def tiers() -> tuple[Tier, ...]:
    """All tiers, smallest first. PlaybookError as `tier_table`."""
    return tier_table().tiers


def read_tiers(path: Path) -> TierTable:
    """A table of tiers. PlaybookError names the first fault of the file: file, line, key, value, what to do."""
    from pytest_aprqa.playbooks.document import load_yaml
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.validation import check_table

    if not path.is_file():
        raise PlaybookError(path, "the table of tiers is missing", advice="install pytest-aprqa again")
    document = load_yaml(path)
    check_table(document, SCHEMA_FILE)
    data: dict[str, Any] = document.data
    _refuse_wrong_names(document)
    return TierTable(
        version=data["version"],
        tiers=tuple(_tier(section) for section in data["tiers"]),
        default=data["default"],
        aliases=data.get("aliases", {}),
        declared=data.get("declared", {}),
    )


def _tier(section: Mapping[str, Any]) -> Tier:
    limits = {key: tuple(section[key]) for key in ("formats", "backends", "modalities") if key in section}
    return Tier(
        name=section["name"],
        scenarios=section["scenarios"],
        threshold=section["threshold"],
        suffixes=tuple(section["suffixes"]),
        new_count=section["bootstrap"]["scenario_count"],
        new_speeds=section["bootstrap"]["speeds"],
        per_cell=section.get("per_cell"),
        **limits,
    )


def _refuse_wrong_names(document: Document) -> None:
    """Each name once, each word a name, the version in the history."""
    data = document.data
    names = [section["name"] for section in data["tiers"]]
    known = f"tiers: {', '.join(names)}"
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error(("tiers", index, "name"), "is there already", found=f"'{name}'", advice="rename it")
    if data["default"] not in names:
        raise document.error(("default",), "is no tier", found=f"'{data['default']}'", advice=known)
    for group in ("aliases", "declared"):
        for word, name in data.get(group, {}).items():
            if name not in names:
                raise document.error((group, word), "is no tier", found=f"'{name}'", advice=known)
            if word in names:
                raise document.error((group, word), "is a tier itself", advice="remove the word")
    if data["version"] not in data["history"]:
        raise document.error(("history",), f"lacks version {data['version']}", advice="say what changed")


def tier_words() -> set[str]:
    """Words that may end the name of a playbook: `mvp`, `smoke`, `quick`, `ci`, `full`, ..."""
    table = tier_table()
    suffixes = {suffix.removeprefix("-") for tier in table.tiers for suffix in tier.suffixes}
    return {*suffixes, *table.aliases, *table.declared} - {""}


def parse_tier(text: str) -> Tier:
    """The tier of a name, in any case; `full` is an alias of deep. ValueError names all tiers."""
    table = tier_table()
    word = text.strip().lower()
    for tier in table.tiers:
        if tier.name == table.aliases.get(word, word):
            return tier
    raise ValueError(f"Unknown tier: {text}. Use: {', '.join(tier.name for tier in table.tiers)}")


def declared_tier(word: str) -> Tier:
    """The tier by which a playbook that declares WORD in `metadata.tier` is judged. ValueError names all words."""
    table = tier_table()
    try:
        return parse_tier(table.declared.get(word.strip().lower(), word))
    except ValueError:
        words = [tier.name for tier in table.tiers] + sorted({*table.aliases, *table.declared})
        raise ValueError(f"Unknown tier: {word}. Use: {', '.join(words)}") from None
