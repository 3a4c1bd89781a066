"""A part of the items of a playbook is not the model's score, however well it did: deselecting gains nothing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.evidence.collection_record import (
    COLLECTION,
    COLLECTION_ITEMS,
    PLUGIN_VERSION,
    SHARD,
    SHARD_ITEMS,
    SPLIT,
    SPLIT_ITEMS,
    collection_digest,
)
from pytest_aprqa.evidence.merging import MergeError, Run, merge
from pytest_aprqa.scoring.score import score
from tests.scoring.entries import complete_run, failed


def stamped(evidence):
    """As a run records it: each entry names its item, the number of items, and the digest of their names."""
    named = [dataclasses.replace(e, node_id=f"p.playbook.yaml::test[{n}]") for n, e in enumerate(evidence)]
    digest = collection_digest(e.node_id for e in named)
    stamp = {COLLECTION: digest, COLLECTION_ITEMS: str(len(named))}
    return [dataclasses.replace(e, metadata=stamp) for e in named]


def scored(evidence, **options):
    return score(evidence, model_id="example/tiny", **options)


REFUTED = failed("F-CONTRACT-I4-001", severity="P0")


def test_a_whole_run_is_complete():
    result = scored(stamped(complete_run()))
    assert (result.status, result.incomplete, result.part) == ("CERTIFIED", False, None)


def test_a_run_without_the_refuted_item_is_a_part():
    result = scored(stamped([*complete_run() * 2, REFUTED])[:-1])
    assert (result.raw_score, result.status, result.incomplete) == (1000, "PROVISIONAL", True)
    assert result.status_reasons == ["a part of the playbook: 22 of 23 items are recorded"]
    assert scored(stamped([*complete_run() * 2, REFUTED])).status == "BLOCKED"


def test_entries_of_two_collections_are_no_whole_run():
    result = scored([*stamped(complete_run()), *stamped(complete_run() * 2)])
    assert result.status == "PROVISIONAL"
    assert result.status_reasons == ["a part of the playbook: 22 of an unknown number of items are recorded"]


def test_evidence_that_names_no_collection_is_taken_as_it_is():
    assert scored(complete_run()).status == "CERTIFIED"


def test_compatibility_mode_knows_no_parts():
    assert scored(stamped(complete_run())[:-1], compat=True).incomplete is False


def shards_of(evidence, total):
    """The entries as a run with `--shard I/N` records them, one list for each shard."""
    whole = stamped(evidence)
    parts = [whole[number::total] for number in range(total)]
    split = {SPLIT: whole[0].metadata[COLLECTION], SPLIT_ITEMS: str(len(whole))}
    return [
        [
            dataclasses.replace(
                e, metadata=e.metadata | split | {SHARD: f"{n}/{total}", SHARD_ITEMS: str(len(part)), "order": str(n)}
            )
            for e in part
        ]
        for n, part in enumerate(parts, start=1)
    ]


SOUND = complete_run() * 3  # each third has every gateway and every category


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_shard_that_looks_perfect_is_incomplete(number):
    facts = scored(shards_of(SOUND, 3)[number]).to_dict()
    assert (facts["raw_score"], facts["status"], facts["incomplete"]) == (1000, "PROVISIONAL", True)
    assert (facts["qualifies"], facts["production_ready"]) == (False, False)
    assert facts["status_reasons"] == [
        "a part of the playbook: 11 of 33 items are recorded",
        f"shard {number + 1}/3: only aprqa merge of all shards gives the verdict of the run",
    ]


def test_two_of_three_shards_are_refused_by_the_merge_and_certify_nothing():
    first, second, _ = shards_of(SOUND, 3)
    with pytest.raises(MergeError, match="shard 3/3 is missing"):
        merge([Run("1", tuple(first)), Run("2", tuple(second))])
    result = scored([*first, *second])
    assert (result.status, result.incomplete, result.qualifies) == ("PROVISIONAL", True, False)


def test_all_shards_merged_are_certified():
    merged = merge([Run(str(n), tuple(part)) for n, part in enumerate(shards_of(SOUND, 3))])
    result = scored(merged)
    assert (result.raw_score, result.status, result.incomplete, result.part) == (1000, "CERTIFIED", False, None)
    assert result.production_ready


def test_all_shards_that_nobody_merged_are_no_run():
    """Nobody has asked whether they are of the same files."""
    result = scored([e for part in shards_of(SOUND, 3) for e in part])
    assert (result.status, result.incomplete) == ("PROVISIONAL", True)
    assert result.status_reasons == ["shard 1/3, 2/3, 3/3: only aprqa merge of all shards gives the verdict of the run"]


def test_a_shard_that_has_every_item_is_still_to_be_merged():
    (whole,) = shards_of(SOUND, 1)
    assert scored(whole).status == "CERTIFIED"
    of_two = [dataclasses.replace(e, metadata=e.metadata | {SHARD: "1/2"}) for e in whole]
    assert (scored(of_two).status, scored(of_two).incomplete) == ("PROVISIONAL", True)
    assert scored(merge([Run("1", tuple(of_two))])).status == "CERTIFIED"


@pytest.mark.parametrize("mark", [{PLUGIN_VERSION: "0.1.0"}, {SHARD: "1/3"}])
def test_items_named_one_by_one_are_a_part(mark):
    """Such a run records no collection: what was named by node id is a selection already."""
    named = [dataclasses.replace(e, node_id=f"p::test[{n}]", metadata=mark) for n, e in enumerate(SOUND)]
    result = scored(named)
    assert (result.status, result.incomplete, result.qualifies) == ("PROVISIONAL", True, False)
    assert result.status_reasons[0] == "a part of the playbook: 33 of an unknown number of items are recorded"


@given(left_out=st.sets(st.integers(0, 22), min_size=1, max_size=22), worst=st.booleans())
def test_leaving_items_out_never_certifies(left_out, worst):
    whole = stamped([*complete_run() * 2, REFUTED if worst else complete_run()[-1]])
    assert scored([e for n, e in enumerate(whole) if n not in left_out]).status != "CERTIFIED"


@pytest.mark.parametrize("number", ["", "x", "10000000000000"])
def test_a_wrong_number_of_items_is_a_part(number):
    stamp = {COLLECTION_ITEMS: number}
    entries = [dataclasses.replace(e, metadata=e.metadata | stamp) for e in stamped(complete_run())]
    assert scored(entries).status == "PROVISIONAL"
