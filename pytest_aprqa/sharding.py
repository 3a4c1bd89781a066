"""`--shard I/N`: which items this run takes. Items that share an engine stay together; every item is in one shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from pytest_aprqa.target import group_of

MOST_SHARDS = 10_000


@dataclass(slots=True)
class CollectionRecord:
    """The items of the playbooks before any was deselected: digest and number; and the part of this shard."""

    digest: str = ""
    items: int = 0
    shard: str = ""
    shard_items: int = 0
    split: str = ""
    split_items: int = 0
    order: dict[str, int] | None = None  # place of every item in the whole run, where this is a shard


COLLECTION_RECORD: pytest.StashKey[CollectionRecord] = pytest.StashKey()


def parse_shard(text: str) -> tuple[int, int]:
    """`2/3` -> (2, 3). UsageError: not I/N with 1 <= I <= N <= 10000."""
    number, separator, total = text.strip().partition("/")
    if separator and number.isdecimal() and total.isdecimal() and len(total) <= 5:
        pair = int(number), int(total)
        if 1 <= pair[0] <= pair[1] <= MOST_SHARDS:
            return pair
    raise pytest.UsageError(f"--shard: found {text!r}, limit I/N with I from 1 to N and N up to {MOST_SHARDS}")


def shard_of_groups(weights: dict[str, int], total: int) -> dict[str, int]:
    """Group -> shard, 0 to TOTAL - 1: heaviest group first, each into the shard with least work; ties by name."""
    loads = [0] * total
    shards: dict[str, int] = {}
    for group in sorted(weights, key=lambda name: (-weights[name], name)):
        shard = loads.index(min(loads))
        shards[group] = shard
        loads[shard] += weights[group]
    return shards


def group_of_item(node_id: str) -> str:
    """The group of an item, without the folders of its file; a file that is no playbook is a group."""
    from pytest_aprqa.evidence.collection_record import item_name

    name = item_name(node_id)
    return group_of(name) if "::" in name else name


def split(node_ids: Sequence[str], total: int) -> list[list[str]]:
    """The node ids of each shard, in their order. A pure function of the set of ids: every machine splits alike."""
    weights: dict[str, int] = {}
    for node_id in node_ids:
        group = group_of_item(node_id)
        weights[group] = weights.get(group, 0) + 1
    shards = shard_of_groups(weights, total)
    parts: list[list[str]] = [[] for _ in range(total)]
    for node_id in node_ids:
        parts[shards[group_of_item(node_id)]].append(node_id)
    return parts


def record_collection(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember all items of playbooks, before a selection; what was named by node id is a selection already."""
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.evidence.collection_record import collection_digest, item_name

    record = CollectionRecord()
    names = [item_name(item.nodeid) for item in items if item.getparent(PlaybookFile) is not None]
    if names and not any("::" in argument for argument in config.args):
        record.digest, record.items = collection_digest(names), len(set(names))
    config.stash[COLLECTION_RECORD] = record


def keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--shard`, deselect the items of the other shards. Comes last: what was deselected before is in no shard."""
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.evidence.collection_record import collection_digest, item_name
    from pytest_aprqa.options import option_or_ini

    text = option_or_ini(config, "--shard")
    if text is None:
        return
    number, total = parse_shard(str(text))
    mine = set(split([item.nodeid for item in items], total)[number - 1])
    record = config.stash[COLLECTION_RECORD]
    record.shard = f"{number}/{total}"
    record.order = {item.nodeid: index for index, item in enumerate(items)}
    kept = [item for item in items if item.nodeid in mine]
    names = [item_name(item.nodeid) for item in items if item.getparent(PlaybookFile) is not None]
    record.split, record.split_items = collection_digest(names), len(set(names))
    record.shard_items = len({item.nodeid for item in kept if item.getparent(PlaybookFile) is not None})
    left_out = [item for item in items if item.nodeid not in mine]
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)
