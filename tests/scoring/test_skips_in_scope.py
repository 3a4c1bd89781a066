"""What was skipped inside the tested scope counts as not passed; what is outside of it is named, not counted."""

import dataclasses

import pytest

from pytest_aprqa.scoring.score import score
from pytest_aprqa.scoring.status import status_of
from tests.scoring.entries import complete_run, failed, passed, scenario, skipped


def scored(evidence):
    return score(evidence, model_id="example/tiny")


def edge(good: int, bad: int, left_out: int):
    """A complete run whose category EDGE has so many passes, failures and skips besides the first pass."""
    entries = [passed("F-EDGE-001")] * (good - 1) + [failed("F-EDGE-001")] * bad + [skipped("F-EDGE-001")] * left_out
    return [*complete_run(), *entries]


@pytest.mark.parametrize(
    ("raw", "status"), [(699, "BLOCKED"), (700, "PROVISIONAL"), (849, "PROVISIONAL"), (850, "CERTIFIED")]
)
def test_one_score_decides_the_status(raw, status):
    assert status_of(raw, gateways_passed=True, complete=True) == status


def test_a_skip_counts_as_not_passed():
    result = scored(edge(good=2, bad=0, left_out=1))
    assert (result.raw_score, result.ran_raw, result.categories["EDGE"]) == (950, 1000, 100)
    assert result.to_dict()["ran_raw"] == 1000
    assert result.status == "CERTIFIED"


@pytest.mark.parametrize(("left_out", "status"), [(5, "CERTIFIED"), (40, "PROVISIONAL")])
def test_many_skips_in_the_tested_scope_refuse_certified(left_out, status):
    evidence = [*edge(1, 0, left_out), *[skipped("F-PERF-001")] * (left_out // 20)]
    result = scored(evidence)
    assert (result.ran_raw, result.status) == (1000, status)
    if status == "PROVISIONAL":
        gap = 1000 - result.raw_score
        why = f"{gap} points are of checks that were skipped: not run is not proven"
        assert result.status_reasons == [f"score {result.raw_score} is below 850; {why}"]


def test_hiding_failures_as_skips_gains_nothing():
    honest = scored([*edge(1, 30, 0), *[failed("F-PERF-001")] * 2])
    hidden = scored([*edge(1, 0, 30), *[skipped("F-PERF-001")] * 2])
    assert (honest.raw_score, honest.status) == (755, "PROVISIONAL")
    assert (hidden.raw_score, hidden.ran_raw, hidden.status) == (755, 1000, "PROVISIONAL")


def at(backend):
    return {"scenario": scenario(format="gguf", backend=backend, modality="run")}


def test_a_backend_of_which_nothing_ran_is_outside_the_scope():
    cpu = [*complete_run(), passed("F-A1-001", **at("cpu"))]
    assert scored([*cpu, *[skipped("F-A2-001", **at("gpu"))] * 50]).raw_score == 1000
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
