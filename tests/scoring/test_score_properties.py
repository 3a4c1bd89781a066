"""Laws of the score for any evidence: monotone, the same for any order and split, nothing gained by skipping."""

import dataclasses
import json

from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.blocking import is_critical
from pytest_aprqa.scoring.categories import MAXIMA, category_of
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.falsification import falsification_report
from pytest_aprqa.scoring.gateways import gateway_of
from pytest_aprqa.scoring.score import TIMEOUT_POINTS, QualificationScore, score
from tests.scoring.entries import (
    GATEWAYS,
    ONE_OF_EACH_CATEGORY,
    complete_run,
    crashed,
    failed,
    not_applicable,
    passed,
    scenario,
    skipped,
    timed_out,
)

STATUSES = ("PENDING", "BLOCKED", "PROVISIONAL", "CERTIFIED")
IDS = (*GATEWAYS, *ONE_OF_EACH_CATEGORY, "F-A1-001", "F-A5-001", "F-CONV-RT-001", "F-CONTRACT-I1-001", "F-X-P0-001")
ORDINARY = ("F-A1-001", "F-A5-001", "F-PERF-001", "F-STAB-001", "F-COMP-001", "F-EDGE-001", "F-REGR-001")
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


@given(evidence=runs | placed_runs, compat=st.booleans())
def test_scoring_what_was_stored_gives_the_same_numbers(evidence, compat):
    stored = [Evidence.from_dict(json.loads(json.dumps(e.to_dict()))) for e in evidence]
    assert facts_of(scored(stored, compat=compat)) == facts_of(scored(evidence, compat=compat))


@given(evidence=runs | placed_runs, compat=st.booleans())
def test_the_raw_score_stays_within_its_limits(evidence, compat):
    result = scored(evidence, compat=compat)
    assert result is None or 0 <= result.raw_score <= 1000


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


@st.composite
def runs_with_refuted_checks(draw):
    """(evidence, positions of refuted checks) of neither gateways nor P0, in places where something else ran too."""
    evidence, positions = draw(runs | placed_runs | nearly_sound), []
    for gate_id in draw(st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=6)):
        at = draw(place)
        positions.append(len(evidence) + 1)
        evidence = [*evidence, passed(draw(st.sampled_from(ORDINARY)), scenario=at), failed(gate_id, scenario=at)]
    return evidence, positions


@given(run=runs_with_refuted_checks(), data=st.data())
def test_refuted_checks_turned_into_skips_never_raise_score_or_verdict(run, data):
    """In the tested scope, any number of them, as whoever would hide them does it. P0 and gateways: see below."""
    evidence, positions = run
    hidden = evidence
    for position in data.draw(st.sets(st.sampled_from(positions), min_size=1)):
        hidden = with_outcome(hidden, position, Outcome.SKIPPED)
    before, after = scored(evidence), scored(hidden)
    assert before is not None
    assert after is not None
    assert before.scope["backends"] == after.scope["backends"]
    assert before.scope["formats"] == after.scope["formats"]
    assert not_better(after, before)


@given(run=runs_with_refuted_checks(), data=st.data())
def test_a_skipped_time_out_gives_back_its_penalty_and_no_more(run, data):
    evidence, positions = run
    position = data.draw(st.sampled_from(positions))
    before = scored(with_outcome(evidence, position, Outcome.TIMEOUT))
    after = scored(with_outcome(evidence, position, Outcome.SKIPPED))
    assert before is not None
    assert after is not None
    if before.gateways_passed:
        assert after.raw_score <= before.raw_score + TIMEOUT_POINTS


@given(run=runs_with_refuted_checks(), data=st.data())
def test_compatibility_mode_rewards_skips_as_the_ancestor_did(run, data):
    evidence, positions = run
    before = scored(evidence, compat=True)
    after = scored(with_outcome(evidence, data.draw(st.sampled_from(positions)), Outcome.SKIPPED), compat=True)
    assert before is not None
    assert after is not None
    assert after.ungated_raw >= before.ungated_raw


@given(evidence=runs, extra=st.lists(st.sampled_from(IDS), max_size=5))
def test_more_skipped_entries_never_raise_anything(evidence, extra):
    assert not_better(scored([*evidence, *map(skipped, extra)]), scored(evidence))


@given(evidence=runs, category=st.sampled_from(sorted(MAXIMA)))
def test_skipping_a_whole_category_never_gives_points(evidence, category):
    result = scored([skipped(e.gate_id) if category_of(e.gate_id) == category else e for e in evidence])
    if result is not None:
        assert result.categories[category] == 0
        assert category in result.not_evaluated_categories
        assert result.status != "CERTIFIED"


@given(evidence=runs, gate=st.sampled_from(["F-CONTRACT-I1-001", "F-X-P0-001", "F-CONV-RT-001"]), make=outcome)
def test_skipping_all_of_a_p0_gate_never_certifies(evidence, gate, make):
    asked = [*evidence, MAKERS[make](gate)]
    result = scored([skipped(gate) if e.gate_id == gate else e for e in asked])
    assert result is None or (result.status != "CERTIFIED" and gate in result.not_evaluated_gates)


@given(run=runs_with_refuted_checks(), gate=st.sampled_from([*GATEWAYS, "F-CONTRACT-I1-001"]), place=place)
def test_leaving_out_a_refuted_gateway_or_p0_check_never_certifies(run, gate, place):
    """Also where others of the same gate pass: in the tested scope, of which there is an entry at the same place."""
    result = scored([*run[0], passed("F-A1-001", scenario=place), passed(gate), skipped(gate, scenario=place)])
    assert result is not None
    assert result.status != "CERTIFIED"
    assert gate in result.not_evaluated_gates


@given(evidence=runs | placed_runs, data=st.data())
def test_a_check_that_skips_itself_gains_no_proven_point(evidence, data):
    position = chosen(data, evidence, Outcome.CORROBORATED, Outcome.FALSIFIED)
    aside = [*evidence]
    aside[position] = not_applicable(evidence[position].gate_id, scenario=evidence[position].scenario)
    left_out = with_outcome(evidence, position, Outcome.SKIPPED)
    one, other = scored(aside), scored(left_out)
    if one is not None and other is not None:
        assert one.proven_raw == other.proven_raw
        assert other.raw_score <= one.raw_score


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
    assert result.not_evaluated_categories == []
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


def test_ten_thousand_entries_are_scored_in_one_pass():
    evidence = [make(gate_id) for make in (passed, failed, timed_out) for gate_id in IDS] * 220
    result = scored(evidence)
    assert result is not None
    assert result.to_dict()["total_tests"] == len(evidence) >= 10_000
