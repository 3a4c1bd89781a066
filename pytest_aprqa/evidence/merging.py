"""Joins the evidence of shards, or of runs of parts of a playbook, into one; refuses what does not belong together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_aprqa.evidence.collection_record import (
    DECLARATIONS_DIGEST,
    LIMITS_VERSION,
    PLAYBOOK_DIGEST,
    PLUGIN_VERSION,
    SHARD,
    SHARD_ITEMS,
    SOURCE_DIGEST,
    SPLIT,
    SPLIT_ITEMS,
    completeness,
    name_of,
)
from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.record import Evidence

SHARD_TEXT = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})")
MARKS_OF_A_SHARD = (SHARD, SHARD_ITEMS, SPLIT, SPLIT_ITEMS)
NAMES_SHOWN = 3


class MergeError(EvidenceError):
    """Runs cannot be joined: which, what differs, what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """The entries of one run folder; `name` is what messages call it."""

    name: str
    entries: tuple[Evidence, ...]

    @property
    def shard(self) -> tuple[int, int] | None:
        """(number from 1, of how many), or None for a run that was not split. MergeError: several, or no shard."""
        texts = {entry.metadata.get(SHARD, "") for entry in self.entries}
        if len(texts) > 1:
            raise MergeError(f"{self.name}: entries of different shards in one folder (found {_words(texts)})")
        text = next(iter(texts), "")
        if not text:
            return None
        match = SHARD_TEXT.fullmatch(text)
        if match is None or int(match[1]) > int(match[2]):
            raise MergeError(f"{self.name}: shard {text!r} is none (limit I/N with I from 1 to N)")
        return int(match[1]), int(match[2])


def merge(runs: Sequence[Run]) -> list[Evidence]:
    """All entries in one order, numbered anew; the order of RUNS changes nothing.

    MergeError: a shard is missing, doubled or unfinished; an item is in two runs; playbook, artifact, source, plugin
    version or limits differ.
    """
    runs = [run for run in runs if run.entries]
    if not runs:
        raise MergeError("no entry in any of the folders: nothing was run, so there is nothing to merge")
    _same_everywhere(runs, "playbook", lambda e: e.playbook, lambda e: e.metadata.get(PLAYBOOK_DIGEST))
    _same_everywhere(runs, "artifact", _artifact_place, lambda e: (e.artifact or {}).get("sha256"))
    _same_everywhere(runs, "source of", lambda e: e.playbook, lambda e: e.metadata.get(SOURCE_DIGEST))
    _same_everywhere(
        runs, "configuration or tokenizer of", lambda e: e.playbook, lambda e: e.metadata.get(DECLARATIONS_DIGEST)
    )
    _same_everywhere(runs, "plugin", lambda e: "version", lambda e: e.metadata.get(PLUGIN_VERSION))
    _same_everywhere(runs, "limits", lambda e: "version", lambda e: e.metadata.get(LIMITS_VERSION))
    shards = {run.name: run.shard for run in runs}
    if any(shards.values()):
        _check_shards(runs, shards)
    else:
        _one_set_of_playbooks(runs)
    _each_item_once(runs)
    return _numbered([entry for run in runs for entry in run.entries])


def _artifact_place(entry: Evidence) -> str | None:
    artifact = entry.artifact or {}
    return f"{artifact['format']} of {entry.playbook}" if artifact.get("format") else None


def _same_everywhere(
    runs: Sequence[Run],
    what: str,
    place_of: Callable[[Evidence], str | None],
    value_of: Callable[[Evidence], str | None],
) -> None:
    """MergeError when one place (a playbook, a format) has different values in the runs."""
    seen: dict[str, tuple[str, str]] = {}
    for run in sorted(runs, key=lambda run: run.name):
        for entry in run.entries:
            place, value = place_of(entry), value_of(entry)
            if not place or not value:
                continue
            first_value, first_run = seen.setdefault(place, (value, run.name))
            if value != first_value:
                raise MergeError(
                    f"{run.name}: another {what} {place} (found {value}, limit {first_value} of {first_run});"
                    " merge runs of the same files only"
                )


def _one_set_of_playbooks(runs: Sequence[Run]) -> None:
    sets = {run.name: frozenset(entry.playbook or "" for entry in run.entries) for run in runs}
    expected_name = min(sets)
    for name in sorted(sets):
        if sets[name] != sets[expected_name]:
            raise MergeError(
                f"{name}: another playbook (found {_words(sets[name])}, limit {_words(sets[expected_name])} of"
                f" {expected_name}); merge the runs of one playbook"
            )


def _check_shards(runs: Sequence[Run], shards: dict[str, tuple[int, int] | None]) -> None:
    """Every shard once, each finished, all of one split of one collection."""
    whole = sorted(name for name, shard in shards.items() if shard is None)
    if whole:
        raise MergeError(f"{whole[0]}: not a shard, but others are; merge shards with shards")
    given = {name: shard for name, shard in shards.items() if shard is not None}
    totals = {total for _, total in given.values()}
    if len(totals) > 1:
        raise MergeError(f"shards of different splits (found {_words(f'I/{t}' for t in totals)}); run them with one N")
    total = totals.pop()
    by_number: dict[int, str] = {}
    for name in sorted(given):
        number = given[name][0]
        if number in by_number:
            raise MergeError(f"{name}: shard {number}/{total} is doubled: {by_number[number]} is the same; name one")
        by_number[number] = name
    if len({e.metadata.get(SPLIT) for run in runs for e in run.entries}) > 1:
        raise MergeError("the shards are of different collections; give every shard the same playbooks and selection")
    for run in sorted(runs, key=lambda run: run.name):
        _check_finished(run, total)
    together = completeness([entry for run in runs for entry in run.entries], SPLIT)
    if not together.complete:
        # A shard without an item leaves no entry behind: it is missed only when items are.
        missing = [f"{n}/{total}" for n in range(1, total + 1) if n not in by_number]
        raise MergeError(
            f"shard {', '.join(missing) or '?'} is missing (found {together.found} of {together.expected} items);"
            " run it and merge again"
        )


def _check_finished(run: Run, total: int) -> None:
    expected = {entry.metadata.get(SHARD_ITEMS, "") for entry in run.entries}
    found = len({name_of(entry) for entry in run.entries})
    if expected != {str(found)}:
        number = run.shard[0] if run.shard else 0
        raise MergeError(
            f"{run.name}: shard {number}/{total} is not finished (found {found} items, limit {_words(expected)});"
            " finish it with --resume"
        )


def _each_item_once(runs: Sequence[Run]) -> None:
    seen: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: run.name):
        for name in {name_of(entry) for entry in run.entries}:
            if seen.setdefault(name, run.name) != run.name:
                doubled[name] = run.name
    if doubled:
        first = min(doubled)
        raise MergeError(
            f"{doubled[first]}: {len(doubled)} items are doubled, they are in {seen[first]} too:"
            f" {', '.join(sorted(doubled)[:NAMES_SHOWN])}; merge runs that share no item"
        )


def _numbered(entries: list[Evidence]) -> list[Evidence]:
    """In the order of the collection, then by name; numbered from 0, without the marks of the shards."""

    def place(entry: Evidence) -> tuple[str, int, str, str]:
        order = entry.metadata.get("order", "")
        number = int(order) if order.isdecimal() and len(order) < 18 else 0
        return entry.playbook or "", number, name_of(entry), entry.id

    merged = []
    for number, entry in enumerate(sorted(entries, key=place)):
        metadata = {k: v for k, v in entry.metadata.items() if k not in MARKS_OF_A_SHARD}
        merged.append(dataclasses.replace(entry, metadata=metadata | {"order": str(number)}))
    return merged


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(value or "none" for value in values))
