"""What somebody left out inside the tested scope counts as not passed; a check that skipped itself counts nowhere."""

import dataclasses

import pytest

from pytest_aprqa.scoring.score import score
from pytest_aprqa.scoring.status import status_of
from tests.scoring.entries import complete_run, failed, not_applicable, passed, scenario, skipped


def scored(evidence):
    return score(evidence, model_id="example/tiny")


def edge(good: int, bad: int, left_out: int, aside: int = 0):
    """A complete run whose category EDGE has so many passes, failures and skips of both kinds."""
    makers = ((passed, good - 1), (failed, bad), (skipped, left_out), (not_applicable, aside))
    return [*complete_run(), *[make("F-EDGE-001") for make, number in makers for _ in range(number)]]


@pytest.mark.parametrize(("proven", "status"), [(849, "PROVISIONAL"), (850, "CERTIFIED"), (None, "CERTIFIED")])
def test_certified_needs_850_proven_points(proven, status):
    assert status_of(1000, gateways_passed=True, complete=True, proven=proven) == status


@pytest.mark.parametrize("proven", [0, 699, 849, 1000])
def test_the_proven_score_decides_nothing_below_certified(proven):
    assert status_of(700, gateways_passed=True, complete=True, proven=proven) == "PROVISIONAL"
    assert status_of(699, gateways_passed=True, complete=True, proven=proven) == "BLOCKED"


def test_what_is_left_out_counts_as_not_passed():
    result = scored(edge(good=2, bad=0, left_out=1))
    assert (result.raw_score, result.proven_raw, result.categories["EDGE"]) == (950, 950, 100)
    assert result.to_dict()["left_out"] == 1
    assert result.status == "CERTIFIED"


def test_a_check_that_skipped_itself_counts_as_not_passed_in_the_proven_score_only():
    result = scored(edge(good=2, bad=0, left_out=0, aside=1))
    assert (result.raw_score, result.proven_raw, result.categories["EDGE"]) == (1000, 950, 150)
    assert result.to_dict()["left_out"] == 0
    assert result.status == "CERTIFIED"


@pytest.mark.parametrize(("aside", "status"), [(5, "CERTIFIED"), (40, "PROVISIONAL")])
def test_many_checks_that_skip_themselves_refuse_certified(aside, status):
    result = scored([*edge(1, 0, 0, aside), *[not_applicable("F-PERF-001")] * (aside // 20)])
    assert (result.raw_score, result.status) == (1000, status)
    if status == "PROVISIONAL":
        assert result.status_reasons == [f"only {result.proven_raw} points are proven, of 850: the rest was skipped"]


def test_the_reason_names_what_was_left_out():
    result = scored([*edge(1, 0, 40), *[skipped("F-PERF-001")] * 2])
    assert result.status_reasons == [
        f"score {result.raw_score} is below 850; 42 skipped entries count as not passed: not run is not proven"
    ]


def test_hiding_failures_as_skips_gains_nothing():
    honest = scored([*edge(1, 30, 0), *[failed("F-PERF-001")] * 2])
    hidden = scored([*edge(1, 0, 30), *[skipped("F-PERF-001")] * 2])
    assert (honest.raw_score, honest.status) == (755, "PROVISIONAL")
    assert (hidden.raw_score, hidden.status) == (755, "PROVISIONAL")


@pytest.mark.parametrize("gate_id", ["F-CONTRACT-I4-001", "G0-INTEGRITY-CONFIG", "F-X-P0-001"])
def test_leaving_out_some_of_a_p0_gate_or_a_gateway_refuses_certified(gate_id):
    """What runs in one format and is left out in another: nothing is known of the other."""
    result = scored([*complete_run() * 9, *[passed(gate_id)] * 19, skipped(gate_id)])
    assert (result.status, result.not_evaluated_gates) == ("PROVISIONAL", [gate_id])
    assert scored([*complete_run() * 9, passed(gate_id), not_applicable(gate_id)]).status == "CERTIFIED"


def at(backend):
    return {"scenario": scenario(format="gguf", backend=backend, modality="run")}


def test_a_backend_of_which_nothing_ran_is_outside_the_scope():
    cpu = [*complete_run(), passed("F-A1-001", **at("cpu"))]
    outside = scored([*cpu, *[skipped("F-A2-001", **at("gpu"))] * 50])
    assert (outside.raw_score, outside.proven_raw, outside.left_out) == (1000, 1000, 0)
    tried = [*cpu, passed("F-A2-001", **at("gpu")), *[skipped("F-A2-001", **at("gpu"))] * 50]
    assert scored(tried).raw_score < 900


def test_what_the_tier_leaves_out_is_outside_the_scope():
    left_out = dataclasses.replace(
        skipped("F-A1-001", **at("cpu")), reason="tier mvp runs the first 1 of each cell, this is number 2"
    )
    assert scored([*complete_run(), passed("F-A1-001", **at("cpu")), *[left_out] * 50]).raw_score == 1000


def test_a_failed_gateway_leaves_nothing():
    assert scored([*complete_run(), failed("G1-LOAD-001")]).raw_score == 0


def test_in_compatibility_mode_a_skip_is_a_pass():
    assert score([passed("F-QUAL-001"), skipped("F-QUAL-001")], model_id="m", compat=True).raw_score == 1000
