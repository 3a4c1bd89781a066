"""What was skipped inside the tested scope counts as not passed where it matters: before the word CERTIFIED."""

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


@pytest.mark.parametrize(("proven", "status"), [(849, "PROVISIONAL"), (850, "CERTIFIED"), (None, "CERTIFIED")])
def test_certified_needs_850_proven_points(proven, status):
    assert status_of(1000, gateways_passed=True, complete=True, proven=proven) == status


@pytest.mark.parametrize("proven", [0, 699, 849, 1000])
def test_the_proven_score_decides_nothing_below_certified(proven):
    assert status_of(700, gateways_passed=True, complete=True, proven=proven) == "PROVISIONAL"
    assert status_of(699, gateways_passed=True, complete=True, proven=proven) == "BLOCKED"


def test_a_skip_counts_as_not_passed_in_the_proven_score_only():
    result = scored(edge(good=2, bad=0, left_out=1))
    assert (result.raw_score, result.proven_raw, result.categories["EDGE"]) == (1000, 950, 150)
    assert result.to_dict()["proven_raw"] == 950
    assert result.status == "CERTIFIED"


@pytest.mark.parametrize(("left_out", "status"), [(5, "CERTIFIED"), (40, "PROVISIONAL")])
def test_many_skips_in_the_tested_scope_refuse_certified(left_out, status):
    evidence = [*edge(1, 0, left_out), *[skipped("F-PERF-001")] * (left_out // 20)]
    result = scored(evidence)
    assert result.raw_score == 1000
    assert result.status == status
    if status == "PROVISIONAL":
        assert result.status_reasons == [
            f"only {result.proven_raw} points are proven, of 850: the rest was skipped",
        ]


def test_hiding_failures_as_skips_does_not_certify():
    honest = scored([*edge(1, 30, 0), *[failed("F-PERF-001")] * 2])
    hidden = scored([*edge(1, 0, 30), *[skipped("F-PERF-001")] * 2])
    assert (honest.raw_score, honest.status) == (755, "PROVISIONAL")
    assert (hidden.raw_score, hidden.proven_raw, hidden.status) == (1000, 755, "PROVISIONAL")


def at(backend):
    return {"scenario": scenario(format="gguf", backend=backend, modality="run")}


def test_a_backend_of_which_nothing_ran_is_outside_the_scope():
    cpu = [*complete_run(), passed("F-A1-001", **at("cpu"))]
    assert scored([*cpu, *[skipped("F-A2-001", **at("gpu"))] * 50]).proven_raw == 1000
    tried = [*cpu, passed("F-A2-001", **at("gpu")), *[skipped("F-A2-001", **at("gpu"))] * 50]
    assert scored(tried).proven_raw < 900


def test_what_the_tier_leaves_out_is_outside_the_scope():
    left_out = dataclasses.replace(
        skipped("F-A1-001", **at("cpu")), reason="tier mvp runs the first 1 of each cell, this is number 2"
    )
    assert scored([*complete_run(), passed("F-A1-001", **at("cpu")), *[left_out] * 50]).proven_raw == 1000


def test_a_failed_gateway_leaves_nothing_proven():
    assert scored([*complete_run(), failed("G1-LOAD-001")]).proven_raw == 0


def test_in_compatibility_mode_a_skip_is_a_pass():
    assert score([passed("F-QUAL-001"), skipped("F-QUAL-001")], model_id="m", compat=True).proven_raw == 1000
