"""merge: shards and parts become one run, in any order; what does not belong together is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.evidence.collection_record import collection_digest
from pytest_aprqa.evidence.merging import MergeError, Run, merge
from pytest_aprqa.evidence.record import Evidence, canonical_json

NAMES = [f"p.playbook.yaml::test_{letter}[{fmt}]" for letter in "abc" for fmt in ("gguf", "apr", "safetensors")]


def entry(name, order, **changes):
    fields = {
        "gate_id": "G0-A",
        "scenario": {"model": {"org": "o", "name": "n"}},
        "node_id": name,
        "playbook": "p",
        "artifact": {"format": name.split("[")[1].rstrip("]"), "sha256": name.split("[")[1].rstrip("]") * 4},
        "id": f"00000000-0000-4000-8000-{order:012d}",
        "timestamp": "2026-03-01T10:00:00+00:00",
        "metadata": {
            "order": str(order),
            "playbook_sha256": "a" * 64,
            "source_sha256": "b" * 64,
            "declarations_sha256": "d" * 64,
            "plugin_version": "1",
            "limits_version": "2/1",
        },
    }
    metadata = changes.pop("metadata", {})
    return Evidence.corroborated(**(fields | changes | {"metadata": fields["metadata"] | metadata}))


def shards_of(assignment, total):
    """A run for each shard that has an item: `assignment` says which shard each of NAMES is in."""
    digest = {"split_sha256": collection_digest(NAMES), "split_items": str(len(NAMES))}
    runs = []
    for number in range(1, total + 1):
        mine = [(order, name) for order, name in enumerate(NAMES) if assignment[order] == number]
        marks = {"shard": f"{number}/{total}", "shard_items": str(len(mine))} | digest
        runs.append(Run(f"shard-{number}", tuple(entry(name, order, metadata=marks) for order, name in mine)))
    return runs


def thirds():
    return shards_of([1, 2, 3] * 3, 3)


def changed(run, **changes):
    """The run with its first entry changed; `metadata` is added to."""
    metadata = run.entries[0].metadata | changes.pop("metadata", {})
    first = dataclasses.replace(run.entries[0], metadata=metadata, **changes)
    return Run(run.name, (first, *run.entries[1:]))


@given(st.lists(st.integers(1, 4), min_size=9, max_size=9), st.permutations(range(4)))
def test_the_order_of_the_runs_and_the_split_change_nothing(assignment, permutation):
    whole = [entry(name, order) for order, name in enumerate(NAMES)]
    runs = shards_of(assignment, 4)
    merged = merge([runs[n] for n in permutation])
    assert [canonical_json(one) for one in merged] == [canonical_json(one) for one in whole]


def test_parts_of_one_playbook_without_shards_are_joined():
    runs = [Run(str(n), (entry(NAMES[n], n),)) for n in range(3)]
    assert [one.node_id for one in merge(runs)] == NAMES[:3]


def test_an_empty_run_adds_nothing_and_only_empty_runs_are_refused():
    assert len(merge([*thirds(), Run("empty", ())])) == 9
    with pytest.raises(MergeError, match="nothing was run"):
        merge([Run("empty", ())])


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_shard_is_refused_by_its_number(gone):
    runs = thirds()
    del runs[gone]
    with pytest.raises(MergeError, match=rf"shard {gone + 1}/3 is missing \(found 6 of 9 items\)"):
        merge(runs)


def test_a_doubled_shard_is_refused():
    runs = thirds()
    with pytest.raises(MergeError, match="shard 2/3 is doubled: shard-2 is the same"):
        merge([*runs, Run("shard-2b", runs[1].entries)])


def test_a_shard_that_was_killed_is_refused():
    runs = thirds()
    runs[1] = Run("shard-2", runs[1].entries[:-1])
    with pytest.raises(MergeError, match=r"shard-2: shard 2/3 is not finished \(found 2 items, limit 3\).*--resume"):
        merge(runs)


def test_an_item_in_two_parts_is_refused():
    with pytest.raises(MergeError, match=r"1 items are doubled, they are in a too: p\.playbook\.yaml::test_a\[apr\]"):
        merge([Run("a", (entry(NAMES[0], 0), entry(NAMES[1], 1))), Run("b", (entry(NAMES[1], 1),))])


def test_a_shard_does_not_go_with_a_whole_run():
    with pytest.raises(MergeError, match="whole: not a shard, but others are"):
        merge([thirds()[0], Run("whole", (entry(NAMES[1], 1),))])


def test_shards_of_different_splits_are_refused():
    with pytest.raises(MergeError, match=r"different splits \(found I/3, I/4\)"):
        merge([thirds()[0], shards_of([1, 2, 3, 4, 1, 2, 3, 4, 1], 4)[1]])


def test_shards_of_different_collections_are_refused():
    runs = thirds()
    runs[0] = changed(runs[0], metadata={"split_sha256": "c" * 64})
    with pytest.raises(MergeError, match="different collections"):
        merge(runs)


def test_a_folder_with_two_shards_is_refused():
    runs = thirds()
    with pytest.raises(MergeError, match="different shards in one folder"):
        merge([Run("both", (*runs[0].entries, *runs[1].entries)), runs[2]])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/3 "])
def test_a_mark_that_is_no_shard_is_refused(text):
    runs = thirds()
    entries = tuple(dataclasses.replace(e, metadata=e.metadata | {"shard": text}) for e in runs[0].entries)
    with pytest.raises(MergeError, match="is none"):
        merge([Run("odd", entries), *runs[1:]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"playbook_sha256": "f" * 64}}, "shard-2: another playbook p .found f+, limit a+ of shard-1"),
        ({"metadata": {"source_sha256": "f" * 64}}, "shard-2: another source of p"),
        ({"metadata": {"declarations_sha256": "f" * 64}}, "shard-2: another configuration or tokenizer of p"),
        ({"metadata": {"plugin_version": "9"}}, "shard-2: another plugin version .found 9, limit 1 of shard-1"),
        ({"metadata": {"limits_version": "9/9"}}, "shard-2: another limits version"),
        ({"artifact": {"format": "gguf", "sha256": "f" * 64}}, "another artifact gguf of p"),
    ],
)
def test_what_differs_between_the_runs_is_refused_by_name(changes, message):
    runs = thirds()
    runs[1] = changed(runs[1], **changes)
    with pytest.raises(MergeError, match=message):
        merge(runs)


def test_runs_of_two_playbooks_are_refused():
    other = entry(NAMES[1], 1, playbook="q", artifact=None, metadata={"playbook_sha256": "e" * 64})
    with pytest.raises(MergeError, match=r"b: another playbook \(found q, limit p of a\)"):
        merge([Run("a", (entry(NAMES[0], 0),)), Run("b", (other,))])
