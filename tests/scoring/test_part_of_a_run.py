"""A part of the items of a playbook is not the model's score, however well it did: deselecting gains nothing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.evidence.collection_record import COLLECTION, COLLECTION_ITEMS, collection_digest
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


@given(left_out=st.sets(st.integers(0, 22), min_size=1, max_size=22), worst=st.booleans())
def test_leaving_items_out_never_certifies(left_out, worst):
    whole = stamped([*complete_run() * 2, REFUTED if worst else complete_run()[-1]])
    assert scored([e for n, e in enumerate(whole) if n not in left_out]).status != "CERTIFIED"


@pytest.mark.parametrize("number", ["", "x", "10000000000000"])
def test_a_wrong_number_of_items_is_a_part(number):
    stamp = {COLLECTION_ITEMS: number}
    entries = [dataclasses.replace(e, metadata=e.metadata | stamp) for e in stamped(complete_run())]
    assert scored(entries).status == "PROVISIONAL"
