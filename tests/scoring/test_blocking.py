"""A refuted check of severity P0 blocks, although the raw score stays; one of which nothing ran is not proven."""

import pytest

from pytest_aprqa.scoring.blocking import is_critical, refutations
from pytest_aprqa.scoring.score import QualificationScore, score
from tests.scoring.entries import complete_run, crashed, failed, not_applicable, passed, scenario, skipped, timed_out

INVARIANTS = [f"F-CONTRACT-I{n}-001" for n in range(1, 6)]
SCALED = "blk.0.ffn_down.weight: scaled by about 1.25"


def scored(evidence, **options) -> QualificationScore:
    return score(evidence, model_id="example/tiny", **options)


def many(*more):
    """So many passes in each category that one failure costs ten points at most."""
    return [*complete_run(), *[passed(g) for g in INVARIANTS for _ in range(3)], *more]


@pytest.mark.parametrize("gate_id", INVARIANTS)
def test_one_refuted_invariant_blocks_a_model_with_990_points(gate_id):
    evidence = many(failed(gate_id, SCALED, severity="P0", invariant=f"I-{gate_id[12]}"))
    result = scored(evidence)
    assert result.raw_score >= 990
    assert result.gateways_passed
    assert result.status == "BLOCKED"
    assert result.status_reasons == [f"P0 check {gate_id} refuted: {SCALED}"]
    assert result.qualifies is False
    assert result.production_ready is False
    assert scored(many()).status == "CERTIFIED"


def test_the_raw_score_and_its_grade_stay_the_seeds():
    evidence = many(failed("F-CONTRACT-I4-001", SCALED, severity="P0"))
    facts = scored(evidence).to_dict()
    assert facts["categories"]["comp"] == 141  # 16 of 17 of 150, 141.2
    assert (facts["raw_score"], facts["grade"], facts["total_penalty"]) == (991, "A+", 0)
    assert facts["refuted"] == [{"gate_id": "F-CONTRACT-I4-001", "count": 1, "reason": SCALED}]


@pytest.mark.parametrize(
    ("severity", "status"), [("P0", "BLOCKED"), ("P1", "CERTIFIED"), ("P2", "CERTIFIED"), (None, "CERTIFIED")]
)
def test_only_severity_p0_blocks(severity, status):
    evidence = many(*[passed("F-X-001")] * 30, failed("F-X-001", severity=severity))
    assert scored(evidence).status == status


@pytest.mark.parametrize(
    ("gate_id", "fields", "critical"),
    [
        ("F-X-001", {"severity": "P0"}, True),
        ("F-X-001", {"severity": "p0"}, True),
        ("F-X-001", {"severity": "P1"}, False),
        ("F-X-P0-001", {"severity": "P1"}, True),
        ("F-X-P1-001", {}, False),
        ("F-X-001", {"invariant": "I-3", "severity": "P1"}, True),
        ("F-CONV-G-A", {}, True),
        ("F-CONV-G-A", {"severity": "P1"}, False),
        ("F-CONTRACT-I2-001", {}, True),
        ("F-GOLDEN-RULE-001", {}, True),
        ("F-A1-001", {}, False),
    ],
)
def test_what_is_critical_is_declared_or_said_by_the_id(gate_id, fields, critical):
    assert is_critical(failed(gate_id, **fields)) is critical


@pytest.mark.parametrize("make", [failed, timed_out, crashed])
def test_whatever_the_failure_a_p0_check_that_does_not_hold_is_refuted(make):
    found = refutations([passed("F-CONTRACT-I2-001"), make("F-CONTRACT-I2-001")])
    assert [(r.gate_id, r.count) for r in found] == [("F-CONTRACT-I2-001", 1)]


def test_a_gateways_own_entries_are_judged_by_the_gateway_alone():
    garbage = [passed("G4-GARBAGE-001", severity="P0")] * 9 + [failed("G4-GARBAGE-001", severity="P0")]
    evidence = [*complete_run(), *garbage, *[passed("F-A1-001")] * 20]
    assert refutations(evidence) == []
    assert scored(evidence).status == "CERTIFIED"


def test_refuted_gates_are_counted_and_sorted():
    evidence = [failed("F-CONV-G-A", "b"), failed("F-CONTRACT-I2-001", "z"), failed("F-CONV-G-A", "a")]
    assert [(r.gate_id, r.count, r.reason) for r in refutations(evidence)] == [
        ("F-CONTRACT-I2-001", 1, "z"),
        ("F-CONV-G-A", 2, "a"),
    ]
    reasons = scored(many(*evidence)).status_reasons
    assert reasons[1] == "P0 check F-CONV-G-A refuted in 2 places: a"


@pytest.mark.parametrize("gate_id", ["F-CONTRACT-I4-001", "G0-VALIDATE-001", "G4-GARBAGE-001"])
def test_a_mark_xfail_does_not_certify(gate_id):
    excused = passed(gate_id), not_applicable(gate_id, severity="P0")
    assert scored(many(*excused)).status == "CERTIFIED"
    expected = [xfailed(gate_id)]
    result = scored(many(*excused, *expected))
    assert result.status == "BLOCKED"
    assert result.status_reasons == [f"P0 check {gate_id} refuted: xfail: known"]


def xfailed(gate_id, **fields):
    import dataclasses

    return dataclasses.replace(skipped(gate_id, **fields), reason="xfail: known")


def test_an_expected_failure_of_lower_severity_is_a_skip():
    assert scored(many(*[passed("F-X-001")] * 30, xfailed("F-X-001", severity="P2"))).status == "CERTIFIED"


def test_compatibility_mode_knows_no_blocking():
    result = scored(many(failed("F-CONTRACT-I4-001", severity="P0")), compat=True)
    assert (result.status, result.refuted) == ("CERTIFIED", [])


# -- a P0 gate of which nothing ran ------------------------------------------------------------------------------------


def test_a_p0_gate_of_which_nothing_ran_is_not_proven():
    result = scored([*complete_run(), skipped("F-CONTRACT-I4-001", severity="P0")])
    assert (result.raw_score, result.status, result.incomplete) == (925, "PROVISIONAL", True)
    assert result.not_evaluated_gates == ["F-CONTRACT-I4-001"]
    assert "no evidence for F-CONTRACT-I4-001" in result.status_reasons
    assert result.to_dict()["not_evaluated_gates"] == ["F-CONTRACT-I4-001"]


def test_one_entry_that_ran_is_evidence_for_its_gate():
    evidence = many(passed("F-CONV-G-A"), not_applicable("F-CONV-G-A"))
    assert (scored(evidence).status, scored(evidence).not_evaluated_gates) == ("CERTIFIED", [])


def test_a_p0_gate_outside_the_tested_scope_is_named_by_the_scope():
    gpu = skipped("F-HFP-001", severity="P0", scenario=scenario(backend="gpu"))
    result = scored([*complete_run(), passed("F-A1-001", scenario=scenario(backend="cpu")), gpu])
    assert (result.status, result.not_evaluated_gates) == ("CERTIFIED", [])
    assert result.scope["backends"] == {"asked": ["cpu", "gpu"], "tested": ["cpu"]}
