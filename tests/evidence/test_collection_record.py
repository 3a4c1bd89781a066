"""Names of items, the digest of a collection, and whether evidence covers it."""

from __future__ import annotations

import pytest

from pytest_aprqa.evidence.collection_record import (
    collection_digest,
    completeness,
    in_execution_order,
    item_name,
    last_of_each_item,
    name_of,
)
from pytest_aprqa.evidence.record import Evidence


def entry(name, **metadata):
    return Evidence.corroborated(gate_id="G0-A", scenario={}, node_id=f"x.playbook.yaml::{name}", metadata=metadata)


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("a/b/x.playbook.yaml::test_a[gguf-cpu]", "x.playbook.yaml::test_a[gguf-cpu]"),
        ("x.playbook.yaml::test_a[a/b]", "x.playbook.yaml::test_a[a/b]"),
        ("..\\x.playbook.yaml::test_a", "x.playbook.yaml::test_a"),
        ("x.py", "x.py"),
    ],
)
def test_the_name_of_an_item_has_no_folders(node_id, name):
    assert item_name(node_id) == name


def test_an_entry_without_an_item_is_named_by_its_id():
    one = Evidence.corroborated(gate_id="G0-A", scenario={})
    assert name_of(one) == one.id


def test_the_digest_depends_on_the_set_alone():
    assert collection_digest(["b", "a"]) == collection_digest(["a", "b", "a"])
    assert collection_digest(["a"]) != collection_digest(["a", "b"])
    assert collection_digest(["ab"]) != collection_digest(["a", "b"])


def all_of(*names):
    digest = collection_digest(f"x.playbook.yaml::{name}" for name in names)
    return {"collection_sha256": digest, "collection_items": str(len(names))}


def test_evidence_of_all_items_is_complete_and_of_all_but_one_is_not():
    marks = all_of("test_a", "test_b")
    both = [entry("test_a", **marks), entry("test_b", **marks)]
    assert completeness(both).complete
    part = completeness(both[:1])
    assert (part.found, part.expected, part.complete) == (1, 2, False)


def test_evidence_that_names_no_collection_is_not_complete():
    assert not completeness([entry("test_a")]).complete
    assert completeness([entry("test_a")]).expected is None
    assert not completeness([]).complete


def test_two_collections_are_none():
    assert not completeness([entry("test_a", **all_of("test_a")), entry("test_b", **all_of("test_b"))]).complete


def test_another_item_in_place_of_one_is_seen():
    marks = all_of("test_a", "test_b")
    assert not completeness([entry("test_a", **marks), entry("test_c", **marks)]).complete


def test_the_last_entry_of_an_item_counts():
    first, other, again = entry("test_a", order="0"), entry("test_b", order="1"), entry("test_a", order="0")
    assert last_of_each_item([first, other, again]) == ([other, again], 1)


def test_order_of_execution_is_the_number_of_the_item():
    entries = [entry("test_b", order="10"), entry("test_a", order="9")]
    assert in_execution_order(entries) == entries[::-1]
    assert in_execution_order([*entries, entry("test_c")])[:2] == entries, "one without a number: as in the log"
