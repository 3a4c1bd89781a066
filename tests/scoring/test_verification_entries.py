"""Entries of tickets, hypotheses and gateway specifications never raise a score; what they refute costs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.evidence.collection_record import VERIFICATION, completeness
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.score import score
from tests.scoring.entries import ONE_OF_EACH_CATEGORY, complete_run, crashed, failed, passed, skipped

MARK = {VERIFICATION: "ticket"}
IDS = ("V-TICKET-901-001", "G1-LOAD-loads", "G0-VALIDATE-001", "F-PERF-001", "F-REGR-009", "acceptance-x")
STATUSES = ("BLOCKED", "PROVISIONAL", "CERTIFIED")


def marked(make, gate_id, **fields):
    return make(gate_id, metadata=MARK, **fields)


def judged(entries):
    return score(entries, model_id="m")


@pytest.mark.parametrize("gate_id", IDS)
@pytest.mark.parametrize("make", [passed, skipped])
def test_what_holds_or_was_not_run_changes_nothing(gate_id, make):
    few = [passed("G1-LOAD-001"), passed("F-QUAL-001"), failed("F-STAB-001")]
    for run in (few, complete_run()):
        with_it = judged([*run, *[marked(make, gate_id, severity="P0")] * 50])
        assert with_it.to_dict() == judged(run).to_dict()


def test_what_is_refuted_costs_points():
    run = complete_run()
    worse = judged([*run, marked(failed, "V-TICKET-901-001", severity="P1")])
    assert worse.raw_score < judged(run).raw_score == 1000
    assert judged([*run, marked(failed, "G1-LOAD-loads")]).raw_score == 0, "the specification of a gateway"


def test_a_refuted_p0_ticket_blocks():
    result = judged([*complete_run(), marked(failed, "V-TICKET-901-001", severity="P0")])
    assert result.status == "BLOCKED"
    assert any("V-TICKET-901-001" in reason for reason in result.status_reasons)


def test_tickets_alone_are_no_qualification():
    with pytest.raises(EmptyEvidence, match="all 2 entries are of tickets or specifications: no check of a model"):
        judged([marked(passed, "V-T-1"), marked(failed, "V-T-2")])
    with pytest.raises(EmptyEvidence, match="skipped"):
        judged([skipped("F-QUAL-001"), marked(passed, "V-T-1")])


def test_they_are_no_items_of_the_playbook():
    run = complete_run()
    assert completeness([*run, marked(passed, "V-T-1")]) == completeness(run)


one_entry = st.builds(
    lambda make, gate_id: marked(make, gate_id, severity="P1"),
    st.sampled_from([passed, failed, skipped]),
    st.sampled_from(IDS),
)
model_entry = st.builds(
    lambda make, gate_id: make(gate_id),
    st.sampled_from([passed, failed, crashed, skipped]),
    st.sampled_from((*ONE_OF_EACH_CATEGORY, "G1-LOAD-001")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(model_entry, min_size=1, max_size=8), st.lists(one_entry, max_size=8))
def test_no_mixture_of_them_raises_a_score_or_a_verdict(run, extra):
    if all(entry.outcome is Outcome.SKIPPED for entry in run):
        return
    before, after = judged(run), judged([*run, *extra])
    assert after.raw_score <= before.raw_score
    assert after.ungated_raw <= before.ungated_raw
    assert STATUSES.index(after.status) <= STATUSES.index(before.status)
    assert not (after.qualifies and not before.qualifies)
    assert not (after.production_ready and not before.production_ready)
