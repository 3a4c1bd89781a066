import dataclasses
import json

import pytest

from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.categories import MAXIMA
from pytest_aprqa.scoring.errors import EmptyEvidence
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


def scored(evidence, **options) -> QualificationScore:
    return score(evidence, model_id="example/tiny", **options)


def compat(evidence) -> QualificationScore:
    return scored(evidence, compat=True)


TEN_PASSES_EACH = [passed(f"F-{category}-00{n}") for category in MAXIMA for n in range(10)]
TWO_THIRDS_QUAL = [passed("F-QUAL-001"), passed("F-QUAL-002"), failed("F-QUAL-003")]
MIXED = [*TWO_THIRDS_QUAL, timed_out("F-PERF-001"), skipped("F-STAB-001"), passed("F-CONV-G-A")]
SCENARIOS = [
    passed("G0-INTEGRITY-CONFIG"),
    *[passed(f"F-A{1 + n % 6}-001") for n in range(17)],
    failed("F-A6-001"),
    passed("F-CONTRACT-I2-001"),
    failed("F-CONTRACT-I3-001"),
]
CRASHING = [
    *[passed("F-QUAL-001") for _ in range(6)],
    failed("F-PERF-001"),
    failed("F-PERF-001"),
    crashed("F-STAB-001"),
    timed_out("F-EDGE-001"),
]


@pytest.mark.parametrize(
    ("evidence", "raw", "ungated", "normalized", "grade", "categories"),
    [
        (TEN_PASSES_EACH, 1000, 1000, 100.0, "A+", (200, 150, 200, 150, 150, 150)),
        (TWO_THIRDS_QUAL, 933, 933, None, "A+", (133, 150, 200, 150, 150, 150)),
        (MIXED, 773, 773, 90.07, "A-", (133, 0, 200, 150, 150, 150)),
        (SCENARIOS, 914, 914, 96.50, "A", (189, 150, 200, 75, 150, 150)),
        (CRASHING, 0, 470, 0.0, "F", (0, 0, 0, 0, 0, 0)),
        ([failed("G0-PULL-001")], 800, 800, 91.38, "A-", (200, 150, 0, 150, 150, 150)),
    ],
)  # fmt: skip
def test_examples_of_the_specification_in_compatibility_mode(evidence, raw, ungated, normalized, grade, categories):
    result = compat(evidence)
    assert (result.raw_score, result.ungated_raw, result.grade) == (raw, ungated, grade)
    assert tuple(result.categories.values()) == categories
    if normalized is not None:
        assert result.normalized_score == pytest.approx(normalized, abs=0.005)


def quality(good: int, *failures: Evidence) -> list[Evidence]:
    return [passed("F-A1-001")] * good + list(failures)


STABLE, CONVERTED, NOT_CONVERTED = passed("G0-LAYOUT-001"), passed("F-CONV-G-A"), failed("F-CONTRACT-I3-001")
NO_ANSWER = failed("G2-BASIC")


@pytest.mark.parametrize(
    ("evidence", "entries", "gates", "raw", "ungated", "fine"),
    [
        (quality(18) + [STABLE] * 3 + [CONVERTED] * 6, 27, "11111", 1000, 1000, "A+"),
        (quality(17, NO_ANSWER, NO_ANSWER) + [STABLE] * 2 + [CONVERTED] * 6, 27, "11011", 0, 979, "F"),
        (quality(17, NO_ANSWER, NO_ANSWER) + [STABLE] * 7 + [CONVERTED, NOT_CONVERTED], 28, "11011", 0, 904, "F"),
        (quality(18) + [STABLE] * 8 + [CONVERTED, NOT_CONVERTED], 28, "11111", 925, 925, "A"),
        (quality(17, crashed("G3-STABLE")) + [STABLE] * 3 + [CONVERTED] * 6, 27, "11101", 0, 969, "F"),
        ([failed("G0-PULL-001")], 1, "11111", 800, 800, "A-"),
    ],
    ids=["tinyllama-1.1b", "smollm2-135m", "granite-3.1-2b", "qwen3-1.7b", "stablelm-zephyr-3b", "gemma-2-2b-it"],
)
def test_rows_of_the_ancestors_recorded_files(evidence, entries, gates, raw, ungated, fine):
    """Lists of the recorded files' shape (scoring.md section 15); the files themselves are not part of the project."""
    result = compat(evidence)
    assert len(evidence) == entries
    assert "".join(str(int(gateway.passed is True)) for gateway in result.gateways) == gates
    assert (result.raw_score, result.ungated_raw, result.grade) == (raw, ungated, fine)


def test_compat_counts_skipped_as_passed():
    facts = compat([skipped("F-QUAL-001"), passed("F-QUAL-002"), failed("F-QUAL-003")]).to_dict()
    assert (facts["tests_passed"], facts["tests_failed"], facts["total_tests"]) == (2, 1, 3)
    assert facts["categories"]["qual"] == 133


def test_compat_uses_the_fine_grades():
    evidence = [passed("F-QUAL-001"), failed("F-QUAL-002"), failed("F-PERF-001")]  # 750: normalised 88.9
    assert compat(evidence).raw_score == 750
    assert compat(evidence).grade == "B+"


# -- our rules ---------------------------------------------------------------------------------------------------------


def test_a_complete_run_without_failure_is_certified_with_a_thousand():
    result = scored(complete_run())
    assert (result.raw_score, result.grade, result.status, result.incomplete) == (1000, "A+", "CERTIFIED", False)
    assert result.qualifies
    assert result.production_ready


@pytest.mark.parametrize("options", [{}, {"compat": True}])
def test_empty_evidence_is_refused(options):
    with pytest.raises(EmptyEvidence, match="nothing is proven"):
        scored([], **options)


def test_evidence_of_skips_only_is_refused():
    with pytest.raises(EmptyEvidence, match="all 2 entries were skipped"):
        scored([skipped("F-QUAL-001"), skipped("G0-PULL-001")])


def test_a_model_that_could_not_be_pulled_is_blocked_with_0():
    result = scored([failed("G0-PULL-001")])
    assert (result.raw_score, result.grade, result.status) == (0, "F", "BLOCKED")


@pytest.mark.parametrize("gate_id", GATEWAYS)
def test_a_failed_gateway_zeroes_the_score_and_keeps_the_distance_visible(gate_id):
    evidence = [e for e in complete_run() if e.gate_id != gate_id] + [failed(gate_id)]
    facts = scored(evidence).to_dict()
    assert (facts["raw_score"], facts["normalized_score"], facts["grade"], facts["fine_grade"]) == (0, 0.0, "F", "F")
    assert facts["status"] == "BLOCKED"
    assert facts["ungated_raw"] > 700
    assert set(facts["categories"].values()) == {0}
    assert facts["penalties"] == [
        {"code": "GATEWAY", "description": "Gateway check failed - score zeroed", "points": 1000}
    ]
    assert facts["total_penalty"] == 1000
    assert (facts["tests_passed"], facts["tests_failed"]) == (10, 1)
    assert facts["gateways_passed"] is False
    assert facts["qualifies"] is False
    assert facts["production_ready"] is False


def test_a_timeout_costs_ten_points_and_its_place_in_the_category():
    evidence = [*complete_run(), passed("F-PERF-002"), timed_out("F-PERF-003")]
    result = scored(evidence)
    assert result.categories["PERF"] == 100
    assert result.raw_score == 1000 - 50 - 10
    assert [(p.code, p.description, p.points) for p in result.penalties] == [("TIMEOUT", "1 timeout(s) detected", 10)]


def test_a_crash_would_cost_twenty_points_if_it_did_not_zero_the_score():
    result = scored([*complete_run(), *[passed("F-STAB-001")] * 398, crashed("F-STAB-001")])
    assert result.raw_score == 0
    assert result.ungated_raw == 1000 - 20  # 400 of 401 still round to 200


def test_penalties_never_make_a_score_negative():
    assert compat([timed_out("F-QUAL-001") for _ in range(200)]).raw_score == 0


@pytest.mark.parametrize("missing", ONE_OF_EACH_CATEGORY)
def test_a_category_without_evidence_is_named_gets_nothing_and_refuses_certified(missing):
    category = missing.split("-")[1]
    evidence = [e for e in complete_run() if e.gate_id != missing]
    if category == "QUAL":
        evidence = [e for e in evidence if e.gate_id[:2] not in ("G1", "G2", "G3", "G4")]
    if category == "STAB":
        evidence = [e for e in evidence if not e.gate_id.startswith("G0")]
    for entries in (evidence, [*evidence, skipped(missing)]):
        facts = scored(entries).to_dict()
        assert facts["not_evaluated_categories"] == [category.lower()]
        assert category.lower() not in facts["categories_evaluated"]
        assert facts["categories"][category.lower()] == 0
        assert facts["incomplete"] is True
        assert facts["status"] != "CERTIFIED"


@pytest.mark.parametrize("missing", GATEWAYS)
def test_a_gateway_without_evidence_refuses_certified_and_qualification(missing):
    evidence = [e for e in complete_run() if e.gate_id != missing]
    if missing == "G3-STABLE":
        evidence = [dataclasses.replace(e, output="") for e in evidence]
    result = scored(evidence)
    facts = result.to_dict()
    assert facts["not_evaluated_gateways"] == [missing[:2]]
    assert (facts["raw_score"], facts["incomplete"], facts["status"]) == (1000, True, "PROVISIONAL")
    assert facts["qualifies"] is False
    assert facts["production_ready"] is False


def test_a_switched_off_gateway_refuses_certified():
    result = scored(complete_run(), enabled_gateways=["G1", "G2", "G3"])
    assert result.not_evaluated_gateways == ["G4"]
    assert (result.status, result.incomplete) == ("PROVISIONAL", True)


def test_qualifies_from_70_normalized_and_production_ready_from_90():
    base = complete_run()
    at_90 = dataclasses.replace(scored(base), raw_score=772)
    assert (at_90.qualifies, at_90.production_ready) == (True, True)
    below_90 = dataclasses.replace(scored(base), raw_score=771)
    assert (below_90.qualifies, below_90.production_ready) == (True, False)
    at_700 = dataclasses.replace(scored(base), raw_score=700)
    assert round(at_700.normalized_score, 2) == 86.33
    assert (at_700.qualifies, at_700.production_ready) == (True, False)
    assert dataclasses.replace(scored(base), raw_score=446).qualifies is True
    assert dataclasses.replace(scored(base), raw_score=445).qualifies is False


def test_the_file_has_every_field_of_the_specification_and_is_json():
    facts = json.loads(json.dumps(scored(complete_run()).to_dict()))
    wanted = {
        "model_id", "raw_score", "normalized_score", "grade", "gateways", "gateways_passed", "categories",
        "total_tests", "tests_passed", "tests_failed", "penalties", "total_penalty", "ungated_raw", "incomplete",
        "not_evaluated_categories", "categories_evaluated", "status", "band", "fine_grade", "scope", "rules_version",
    }  # fmt: skip
    assert wanted <= set(facts)
    assert list(facts["categories"]) == ["qual", "perf", "stab", "comp", "edge", "regr"]
    assert [g["id"] for g in facts["gateways"]] == ["G0", "G1", "G2", "G3", "G4"]
    assert set(facts["gateways"][0]) == {"id", "passed", "state", "description", "failure_reason"}


def test_counts_keep_skips_apart_from_passes():
    facts = scored([*complete_run(), skipped("F-QUAL-009"), failed("F-EDGE-002")]).to_dict()
    assert (facts["total_tests"], facts["tests_passed"], facts["tests_failed"], facts["tests_skipped"]) == (
        13,
        11,
        1,
        1,
    )


def test_scope_says_what_was_asked_and_what_was_really_tested():
    def at(format_, backend, modality):
        return scenario(format=format_, backend=backend, modality=modality)

    evidence = [
        passed("F-A3-001", scenario=at("gguf", "cpu", "chat")),
        skipped("F-A4-001", scenario=at("gguf", "gpu", "chat")),
        skipped("F-A1-001", scenario=at("apr", "cpu", "run")),
        failed("G0-VALIDATE-001", scenario=at("safetensors", None, None)),
    ]
    assert scored(evidence).to_dict()["scope"] == {
        "formats": {"asked": ["apr", "gguf", "safetensors"], "tested": ["gguf", "safetensors"]},
        "backends": {"asked": ["cpu", "gpu"], "tested": ["cpu"]},
        "modalities": {"asked": ["chat", "run"], "tested": ["chat"]},
        "cells": {"asked": ["apr-cpu-run", "gguf-cpu-chat", "gguf-gpu-chat"], "tested": ["gguf-cpu-chat"]},
    }
