"""The published object of a model's evidence: its counts, names and what it says of what was not run."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.evidence.log import read_json
from pytest_aprqa.registry.certification import moment
from pytest_aprqa.registry.exported_evidence import GATE_NAMES, ExportedModel, export_object, file_name, last_timestamp
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt, small_run

MODEL = ExportedModel("example/Tiny-1B", "tiny", "1b", "tiny-mvp", "mvp")


def exported(entries):
    return export_object(entries, score(entries, model_id=MODEL.hf_repo), MODEL)


def test_counts_are_of_the_evidence_and_a_skip_is_no_pass():
    summary = exported(small_run())["summary"]
    assert (summary["total_scenarios"], summary["passed"], summary["failed"], summary["skipped"]) == (4, 1, 2, 1)
    assert summary["pass_rate"] == 0.25
    assert summary["duration_ms"] == sum(int(entry.metrics["duration_ms"]) for entry in small_run())


def test_skipping_the_failures_does_not_raise_the_rate():
    ran = exported([attempt(), attempt("Falsified")])["summary"]["pass_rate"]
    assert exported([attempt(), attempt("Skipped")])["summary"]["pass_rate"] <= ran


def test_gates_have_the_published_names_and_an_unknown_one_is_no_pass():
    gates = exported([attempt()])["gates"]
    assert list(gates) == list(GATE_NAMES.values())
    assert gates["G4-OUTPUT-QUALITY"]["passed"] is True
    assert gates["G0-INTEGRITY"] == {"passed": False, "reason": "not evaluated"}
    assert "NaN" in exported(small_run())["gates"]["G0-INTEGRITY"]["reason"]


def test_score_and_categories_are_those_of_mqs_json():
    entries = [attempt(), attempt(gate_id="F-PERF-001", gateway=None)]
    facts = score(entries, model_id="example/Tiny-1B").to_dict()
    mqs = exported(entries)["mqs"]
    assert mqs["score"] == facts["raw_score"] > 0
    assert mqs["category_scores"] == facts["categories"]
    assert set(mqs["category_scores"]) == {"qual", "perf", "stab", "comp", "edge", "regr"}


def test_an_export_is_read_as_the_evidence_it_was_made_of(tmp_path):
    entries = small_run()
    path = tmp_path / file_name(MODEL.hf_repo)
    path.write_text(json.dumps(exported(entries)))
    assert [entry.to_dict() for entry in read_json(path)] == [entry.to_dict() for entry in entries]
    assert path.name == "example-tiny-1b.json"


def test_made_twice_it_is_the_same():
    entries = small_run()
    assert json.dumps(exported(entries)) == json.dumps(exported(list(entries)))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-03-01T10:00:00+02:00", "2026-03-01T09:00:00+00:00"),
        ("2026-03-01T10:00:00", "2026-03-01T10:00:01Z"),
        ("not a time", "1971-01-01"),
        ("", "2026-01-01T00:00:00Z"),
    ],
)
def test_times_are_compared_as_moments(earlier, later):
    assert moment(earlier) < moment(later)
    entries = [attempt(timestamp=later), attempt(timestamp=earlier)]
    assert last_timestamp(entries) == later
