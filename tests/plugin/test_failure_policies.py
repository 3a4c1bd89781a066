"""Failure policies, precedence of settings, tiers and switched-off gateways."""

from __future__ import annotations

import json

import pytest

CHECKS = """
import json

import pytest

@pytest.mark.gate("F-QUAL-910", severity="P1")
def test_a_passes(playbook):
    assert playbook.name

@pytest.mark.gate("F-QUAL-911", severity="P1")
def test_b_fails(playbook):
    assert False, "an ordinary failure"

@pytest.mark.gateway("G2")
@pytest.mark.gate("G2-BASIC", severity="P0")
def test_c_gateway_fails(playbook):
    assert False, "a gateway failure"

@pytest.mark.gate("F-QUAL-912", severity="P1")
def test_d_passes(playbook):
    assert playbook.name
"""
A, B, C, D = "test_a_passes", "test_b_fails", "test_c_gateway_fails", "test_d_passes"


def run(project, *options, ini="", **changes):
    path = project.write_playbook(**changes)
    project.pytester.makepyfile(policy_checks=CHECKS)
    if ini:
        project.pytester.makeini(f"[pytest]\n{ini}\n")
    result = project.run(
        f"--playbook={path}", "--aprqa-checks", "policy_checks.py",
        "-k", "test_a_passes or test_b_fails or test_c_gateway_fails or test_d_passes", *options,
    )  # fmt: skip
    return result, project.outcomes()


@pytest.mark.parametrize(
    ("policy", "ran"),
    [
        ("stop-on-first", {A, B}),
        ("fail-fast", {A, B}),
        ("stop-on-p0", {A, B, C}),
        ("collect-all", {A, B, C, D}),
    ],
)
def test_policy_decides_where_the_run_halts(project, policy, ran):
    result, outcomes = run(project, f"--failure-policy={policy}")
    assert result.ret == 1
    assert {name for name, outcome in outcomes.items() if outcome != "Skipped"} == ran
    assert set(outcomes) == {A, B, C, D}, "what was not run must be visible as skipped"
    for entry in project.evidence():
        if entry["outcome"] == "Skipped":
            assert f"halted by failure policy {policy}" in entry["reason"]


def test_option_wins_over_ini_and_ini_over_playbook(project):
    _, outcomes = run(project, failure_policy="stop_on_first")
    assert outcomes[C] == "Skipped", "the playbook's policy holds when nothing else is said"
    _, outcomes = run(project, ini="aprqa_failure_policy = collect-all", failure_policy="stop_on_first")
    assert outcomes[D] == "Corroborated", "the ini key wins over the playbook"
    _, outcomes = run(
        project,
        "--failure-policy=stop-on-first",
        ini="aprqa_failure_policy = collect-all",
        failure_policy="collect_all",
    )
    assert outcomes[C] == "Skipped", "the command line wins over the ini key"


def test_a_switched_off_gateway_is_skipped_and_named(project):
    _, outcomes = run(project, gates={"g2_basic_inference": "false"}, failure_policy="collect_all")
    assert outcomes[C] == "Skipped"
    reason = next(e["reason"] for e in project.evidence() if e["check"] == C)
    assert "switched off by the playbook" in reason


def test_smoke_tier_runs_only_safetensors_cpu_run(project):
    path = project.write_playbook(
        model={"formats": ["safetensors", "gguf"]}, test_matrix={"modalities": ["run", "chat"]}
    )
    result = project.run(f"--playbook={path}", "--tier", "smoke", "-k", "test_answer_is_accepted")
    assert result.ret == 0
    ran = {n for n, outcome in project.outcomes().items() if outcome != "Skipped"}
    assert ran == {f"test_answer_is_accepted[safetensors-cpu-run-p0{i}]" for i in (0, 1)}
    skipped = [e for e in project.evidence() if e["outcome"] == "Skipped"]
    assert skipped
    assert all("tier smoke" in e["reason"] for e in skipped)


def test_fail_fast_leaves_a_diagnostic_report(project):
    run(project, "--failure-policy=fail-fast")
    folder = project.path / "evidence" / "latest" / "fail-fast-report"
    diagnostics = json.loads((folder / "diagnostics.json").read_text(encoding="utf-8"))
    assert diagnostics["failure"]["gate_id"] == "F-QUAL-911"
    assert "torch" in diagnostics["environment"]["versions"]
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert "Fail-Fast Report: F-QUAL-911" in summary
    assert "an ordinary failure" in summary


def test_other_policies_leave_no_diagnostic_report(project):
    run(project, "--failure-policy=stop-on-first")
    assert not (project.path / "evidence" / "latest" / "fail-fast-report").exists()


def test_header_says_what_runs_and_where_settings_come_from(project):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "-k", "file_is_sound", "--scenario-timeout=5000")
    result.stdout.fnmatch_lines(
        [
            "playbook: *small.playbook.yaml",
            "model: aprqa/tiny-qwen2 in *tiny-qwen2 (local_path of the playbook)",
            "policy: collect-all, limit 5000 ms *(failure-policy from playbook, scenario-timeout from option)",
        ]
    )


def test_an_evidence_folder_used_twice_keeps_both_runs_apart(project):
    path = project.write_playbook()
    for _ in range(2):
        project.run(f"--playbook={path}", "-k", "file_is_sound", "--evidence-dir", "same")
    logs = sorted(p.name for p in (project.path / "same").glob("evidence*.jsonl"))
    assert logs == ["evidence.1.jsonl", "evidence.jsonl"]
    assert len(project.evidence("same")) == 1
