"""Latency, memory and regression checks of `profile_ci` are seen to fail, and to be there only where they are asked."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.cli.main import call
from tests.plugin.test_gateways_fail import red

SELECTED = "fast_enough or memory_is or speed_is or collapse"


@pytest.fixture
def run(project):
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "pytest_aprqa.misbehaving_engine:slow"
    """)

    def run(**profile):
        settings = {"enabled": True, "warmup": 1, "measure": 5} | profile
        path = project.write_playbook(profile_ci=settings)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", SELECTED)
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_limits_of_latency_and_memory_trip_their_checks(run):
    found = run(assertions={"max_p99_ms": 150, "max_p50_ms": 150, "max_memory_mib": 1})
    assert found["F-PROFILE-CI-002"].startswith("p99 of 5 requests: 2")
    assert found["F-PROFILE-CI-003"].startswith("p50 of 5 requests: 2")
    assert "MiB > 1 MiB max" in found["F-PERF-005"]


def test_wide_limits_pass_and_what_is_not_asked_is_no_item(run, project):
    assert run(assertions={"max_p99_ms": 60000}) == {}
    assert [e["gate_id"] for e in project.evidence()] == ["F-PROFILE-CI-002"]


def test_a_saved_baseline_is_held_against_later_runs(run, project, capsys):
    path = project.path / "speeds.json"
    assert run(baseline="speeds.json") == {}
    assert {e["outcome"] for e in project.evidence()} == {"Skipped"}
    assert call(["baseline", str(project.path / "evidence/latest"), "--output", str(path)]) == 0
    assert "safetensors-cpu 5 samples" in capsys.readouterr().out
    saved = json.loads(path.read_text())

    def rewrite(factor, **fields):
        speeds = saved["speeds"]["safetensors-cpu"]
        changed = speeds | {"samples": [factor * value for value in speeds["samples"]]} | fields
        path.write_text(json.dumps(saved | {"speeds": {"safetensors-cpu": changed}}))

    rewrite(5.0)
    found = run(baseline="speeds.json")
    assert set(found) == {"F-PROFILE-DIFF-001", "F-PROFILE-DIFF-002"}
    assert "95 % interval" in found["F-PROFILE-DIFF-001"]
    rewrite(0.5)
    assert run(baseline="speeds.json") == {}
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}
    rewrite(5.0, machine="another one")
    assert run(baseline="speeds.json") == {}
    assert all("no comparison" in e["reason"] for e in project.evidence())


def test_a_run_without_speeds_makes_no_baseline(project, capsys):
    path = project.write_playbook()
    project.run(f"--playbook={path}", "-q", "-k", "test_file_is_sound")
    assert call(["baseline", str(project.path / "evidence/latest"), "--output", "x.json"]) == 1
    assert "no measured speeds" in capsys.readouterr().err


def test_throughput_of_formats_that_the_profile_leaves_out_is_skipped(project):
    profile = {"enabled": True, "warmup": 0, "measure": 1, "formats": ["apr"], "assertions": {"min_throughput": 1e9}}
    path = project.write_playbook(profile_ci=profile)
    project.run(f"--playbook={path}", "-k", "test_throughput").assert_outcomes(skipped=1)
    (entry,) = project.evidence()
    assert entry["reason"] == "profile_ci does not name safetensors on cpu"
