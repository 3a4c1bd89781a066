"""Which items a run was made of, so that evidence can say of itself whether it is whole: names, digest, shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_aprqa.evidence.record import Evidence

# Keys of an entry's metadata, all text. Written by the run, read by merge, certificate and resume.
COLLECTION, COLLECTION_ITEMS = "collection_sha256", "collection_items"
SHARD, SHARD_ITEMS = "shard", "shard_items"
SPLIT, SPLIT_ITEMS = "split_sha256", "split_items"  # the items that were split: the collection, or a selection of it
PLAYBOOK_DIGEST, SOURCE_DIGEST = "playbook_sha256", "source_sha256"
DECLARATIONS_DIGEST = "declarations_sha256"  # of configuration, tokenizer and template beside the source's weights
PLUGIN_VERSION, LIMITS_VERSION = "plugin_version", "limits_version"
# Beginning of the reason of a check that should have looked and could not: nothing is proven, so it counts as left out.
NOT_TRIED = "not tried: "
SKIPPED_BY = "skipped_by"  # CHECK: the check itself found nothing to look at; absent: whoever ran it left it out
CHECK = "check"
VERIFICATION = "verification"  # ticket, hypotheses or specification: the entry is no check of a playbook
ITEM_KEY, CACHED = "item_key", "cached"


def is_skipped_by_check(entry: Evidence) -> bool:
    """A skip that the check raised itself (not applicable, not possible here), not one that somebody chose."""
    return entry.metadata.get(SKIPPED_BY) == CHECK


def is_verification(entry: Evidence) -> bool:
    """An entry of a ticket, hypotheses or gateway specification file, which says nothing of a model by passing."""
    return VERIFICATION in entry.metadata


def item_name(node_id: str) -> str:
    """A node id without the folders of its file: the same on every machine, wherever pytest was started."""
    file, separator, rest = node_id.partition("::")
    return file.replace("\\", "/").rsplit("/", 1)[-1] + separator + rest


def name_of(entry: Evidence) -> str:
    """The item of an entry; its id stands in where a record of another tool names no item."""
    return item_name(entry.node_id) if entry.node_id else entry.id


def collection_digest(names: Iterable[str]) -> str:
    """SHA-256 of a set of item names, lower-case hexadecimal; their order changes nothing."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode("utf-8", "surrogatepass")).hexdigest()


def last_of_each_item(entries: Sequence[Evidence]) -> tuple[list[Evidence], int]:
    """The entries that count, and how many do not: a log may hold several runs of an item, and the last one counts."""
    last = {entry.node_id: position for position, entry in enumerate(entries) if entry.node_id}
    kept = [e for position, e in enumerate(entries) if not e.node_id or last[e.node_id] == position]
    return kept, len(entries) - len(kept)


def in_execution_order(entries: Sequence[Evidence]) -> list[Evidence]:
    """By the number of the item, where every entry has one: workers append to the log as they finish."""
    numbers = [entry.metadata.get("order", "") for entry in entries]
    if not all(number.isdecimal() and len(number) < 18 for number in numbers):
        return list(entries)
    pairs = sorted(zip(numbers, entries, strict=True), key=lambda pair: (int(pair[0]), pair[1].node_id or ""))
    return [entry for _, entry in pairs]


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether evidence covers all items of the playbooks. `expected` None: the evidence does not say how many."""

    found: int
    expected: int | None
    complete: bool


def completeness(entries: Sequence[Evidence], digest_key: str = COLLECTION) -> Completeness:
    """Compare the items of the evidence with the collection (or the split) that every entry of it names.

    Verification entries are no items of a playbook: they make nothing complete or incomplete.
    """
    entries = [entry for entry in entries if not is_verification(entry)]
    count_key = COLLECTION_ITEMS if digest_key == COLLECTION else SPLIT_ITEMS
    names = {name_of(entry) for entry in entries}
    collections = {entry.metadata.get(digest_key, "") for entry in entries}
    counts = {entry.metadata.get(count_key, "") for entry in entries}
    if len(collections) != 1 or len(counts) != 1 or not (count := counts.pop()).isdecimal() or len(count) > 12:
        return Completeness(len(names), None, False)
    return Completeness(len(names), int(count), collection_digest(names) == collections.pop())
