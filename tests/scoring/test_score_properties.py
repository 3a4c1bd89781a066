"""Laws of the score for any evidence: monotone, the same for any order and split, nothing gained by skipping."""

import dataclasses

from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.blocking import is_critical
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.falsification import falsification_report
from pytest_aprqa.scoring.gateways import gateway_of
from pytest_aprqa.scoring.score import QualificationScore, score
from tests.scoring.entries import (
    GATEWAYS,
    ONE_OF_EACH_CATEGORY,
    complete_run,
    crashed,
    failed,
    passed,
    scenario,
    skipped,
    timed_out,
)

STATUSES = ("PENDING", "BLOCKED", "PROVISIONAL", "CERTIFIED")
IDS = (*GATEWAYS, *ONE_OF_EACH_CATEGORY, "F-A1-001", "F-A5-001", "F-CONV-RT-001", "F-CONTRACT-I1-001", "F-X-P0-001")
MAKERS = {
    Outcome.CORROBORATED: passed,
    Outcome.FALSIFIED: failed,
    Outcome.TIMEOUT: timed_out,
    Outcome.CRASHED: crashed,
    Outcome.SKIPPED: skipped,
}
FAILURES = (Outcome.FALSIFIED, Outcome.TIMEOUT, Outcome.CRASHED)
PLACES = [scenario(format=f, backend=b) for f in ("gguf", "apr") for b in ("cpu", "gpu")] + [scenario()]

place = st.sampled_from(PLACES)
outcome = st.sampled_from(list(MAKERS))
entry = st.builds(lambda o, g: MAKERS[o](g), outcome, st.sampled_from(IDS))
placed = st.builds(lambda e, p: dataclasses.replace(e, scenario=p), entry, place)
# Lists of any kind, and complete runs with a few more entries: random lists alone are nearly always BLOCKED.
runs = st.lists(entry, min_size=1, max_size=25) | st.lists(entry, max_size=8).map(
    lambda more: complete_run() * 3 + more
)
mild = st.sampled_from([passed, skipped, failed]).flatmap(lambda make: st.sampled_from(IDS[5:]).map(make))
nearly_sound = st.lists(mild, max_size=4).map(lambda more: complete_run() * 5 + more)
placed_runs = st.lists(placed, min_size=1, max_size=25)


def scored(evidence, **options) -> QualificationScore | None:
    """None where there is nothing to score."""
    try:
        return score(evidence, model_id="example/tiny", **options)
    except EmptyEvidence:
        return None


def rank(result: QualificationScore | None) -> tuple[int, int, int, bool, bool]:
    """(status, raw score, score without the gateways, qualifies, production ready): each must not get better."""
    if result is None:
        return 0, 0, 0, False, False
    return (
        STATUSES.index(result.status), result.raw_score, result.ungated_raw, result.qualifies, result.production_ready,
    )  # fmt: skip


def not_better(worse: QualificationScore | None, better: QualificationScore | None) -> bool:
    return all(a <= b for a, b in zip(rank(worse), rank(better), strict=True))


def with_outcome(evidence: list[Evidence], position: int, value: Outcome) -> list[Evidence]:
    changed = [*evidence]
    changed[position] = dataclasses.replace(
        MAKERS[value](evidence[position].gate_id), scenario=evidence[position].scenario
    )
    return changed


def chosen(data: st.DataObject, evidence: list[Evidence], *outcomes: Outcome) -> int:
    positions = [n for n, e in enumerate(evidence) if e.outcome in outcomes]
    assume(positions)
    return data.draw(st.sampled_from(positions))


@given(evidence=runs | placed_runs, compat=st.booleans(), data=st.data())
def test_a_failure_turned_into_a_pass_never_lowers_anything(evidence, compat, data):
    better = with_outcome(evidence, chosen(data, evidence, *FAILURES), Outcome.CORROBORATED)
    assert not_better(scored(evidence, compat=compat), scored(better, compat=compat))


@given(evidence=runs | placed_runs, compat=st.booleans(), data=st.data())
def test_a_pass_turned_into_a_failure_never_raises_anything(evidence, compat, data):
    position = chosen(data, evidence, Outcome.CORROBORATED)
    worse = with_outcome(evidence, position, data.draw(st.sampled_from(FAILURES)))
    assert not_better(scored(worse, compat=compat), scored(evidence, compat=compat))


@given(evidence=runs | placed_runs, more=st.sampled_from(IDS), failure=st.sampled_from(FAILURES))
def test_one_more_failure_in_a_tested_category_never_raises_the_score(evidence, more, failure):
    before, after = scored(evidence), scored([*evidence, MAKERS[failure](more)])
    if before is not None and after is not None:
        assert after.raw_score <= before.raw_score
        assert after.ungated_raw <= before.ungated_raw


@given(evidence=runs | placed_runs, compat=st.booleans(), data=st.data())
def test_the_order_of_evidence_changes_nothing(evidence, compat, data):
    other = data.draw(st.permutations(evidence))
    assert facts_of(scored(other, compat=compat)) == facts_of(scored(evidence, compat=compat))
    assert counts_of(other) == counts_of(evidence)


@given(parts=st.lists(runs | placed_runs, min_size=1, max_size=4), data=st.data())
def test_the_score_of_a_union_does_not_depend_on_the_split(parts, data):
    """Shards of a run, merged in any order and cut anywhere else, give the score of the whole."""
    whole = [e for part in parts for e in part]
    merged = [e for part in data.draw(st.permutations(parts)) for e in part]
    cut = data.draw(st.integers(0, len(whole)))
    for other in (merged, whole[cut:] + whole[:cut]):
        assert facts_of(scored(other)) == facts_of(scored(whole))


def facts_of(result: QualificationScore | None):
    if result is None:
        return None
    facts = result.to_dict()
    for gateway in facts["gateways"]:
        gateway.pop("failure_reason")  # names the first reasons in the order of the run
    return facts


def counts_of(evidence):
    report = dataclasses.asdict(falsification_report(evidence))
    for row in report["falsifications"]:
        row.pop("evidence")  # the first reason in the order of the run
    return report


# -- skipping ----------------------------------------------------------------------------------------------------------


@given(evidence=runs, data=st.data())
def test_a_pass_turned_into_a_skip_never_raises_anything(evidence, data):
    skip = with_outcome(evidence, chosen(data, evidence, Outcome.CORROBORATED), Outcome.SKIPPED)
    assert not_better(scored(skip), scored(evidence))


@given(evidence=runs, data=st.data())
def test_a_refuted_check_turned_into_a_skip_never_raises_what_is_proven(evidence, data):
    """In the tested scope: entries without a place are always in it. Gateways and P0 gates have laws of their own."""
    position = chosen(data, evidence, Outcome.FALSIFIED)
    assume(gateway_of(evidence[position]) is None and not is_critical(evidence[position]))
    before, after = scored(evidence), scored(with_outcome(evidence, position, Outcome.SKIPPED))
    assert before is not None
    if after is not None:
        assert after.proven_raw is not None
        assert before.proven_raw is not None
        assert after.proven_raw <= before.proven_raw
        if before.status != "CERTIFIED":
            assert after.status != "CERTIFIED"


@given(evidence=runs, gate=st.sampled_from(["F-CONTRACT-I1-001", "F-X-P0-001", "F-CONV-RT-001"]), make=outcome)
def test_skipping_all_of_a_p0_gate_never_certifies(evidence, gate, make):
    asked = [*evidence, MAKERS[make](gate)]
    result = scored([skipped(gate) if e.gate_id == gate else e for e in asked])
    assert result is None or (result.status != "CERTIFIED" and gate in result.not_evaluated_gates)


@given(evidence=runs | placed_runs, data=st.data())
def test_a_mark_xfail_on_a_refuted_p0_check_changes_no_verdict_for_the_better(evidence, data):
    position = chosen(data, evidence, Outcome.FALSIFIED)
    assume(is_critical(evidence[position]) or gateway_of(evidence[position]) is not None)
    excused = [*evidence]
    excused[position] = dataclasses.replace(
        skipped(evidence[position].gate_id), reason="xfail: known", scenario=evidence[position].scenario
    )
    result = scored(excused)
    assert result is None or result.status == "BLOCKED"


@given(evidence=placed_runs)
def test_whoever_skips_a_whole_scope_has_it_taken_out_of_the_certificate(evidence):
    """All that a failing GPU needs to look well is not to be tested: then the scope says that it was not."""
    without = [
        dataclasses.replace(skipped(e.gate_id), scenario=e.scenario) if e.scenario.get("backend") == "gpu" else e
        for e in evidence
    ]
    result = scored(without)
    if result is not None:
        assert "gpu" not in result.scope["backends"]["tested"]
        asked = any(e.scenario.get("backend") == "gpu" for e in evidence)
        assert ("gpu" in result.scope["backends"]["asked"]) is asked


@given(evidence=nearly_sound)
def test_certified_is_said_of_what_is_proven_only(evidence):
    result = scored(evidence)
    assert result is not None
    if result.status != "CERTIFIED":
        return
    assert result.proven_raw is not None
    assert 850 <= result.proven_raw <= result.raw_score
    assert all(g.passed is True for g in result.gateways)
    assert not any(e.outcome.failed and is_critical(e) for e in evidence if gateway_of(e) is None)
    assert result.status_reasons == []


@given(evidence=runs | placed_runs)
def test_a_status_below_certified_gives_its_reasons(evidence):
    result = scored(evidence)
    assume(result is not None)
    assert bool(result.status_reasons) is (result.status != "CERTIFIED")
    assert result.production_ready <= result.qualifies
    if result.status == "CERTIFIED":
        assert result.qualifies
