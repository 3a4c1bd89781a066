"""Checks of log-probabilities are seen to fail on an engine that tells others than its logits, and pass on ours."""

from __future__ import annotations

import pytest

from pytest_aprqa.misbehaving_engine import MISLEADING
from tests.plugin.test_gateways_fail import red

RAW, CHAT, STREAM = "F-LOGPROB-001", "F-LOGPROB-002", "F-LOGPROB-003"
# fault -> words of the reason by gate
CASES = {
    "logprobs_of_another_model": {RAW: "nats off", CHAT: "nats off"},
    "logprobs_after_temperature": {RAW: "at temperature 2: ", CHAT: "at temperature 2: "},
    "logprobs_of_the_next_token": {RAW: "nats off", CHAT: "nats off"},
    "logprobs_to_base_ten": {RAW: "nats off", CHAT: "nats off"},
    "streams_other_logprobs": {STREAM: ": streamed -"},
}
SEEN_BY_FALSIFY = tuple(fault for fault in CASES if fault != "logprobs_after_temperature")  # each run takes seconds


@pytest.fixture
def run(project):
    path = project.write_playbook(test_matrix={"modalities": ["run", "serve"]})

    def run(engine):
        project.pytester.makeconftest(f"""
            import pytest_aprqa.engines.selection as selection

            selection.engine_for = lambda *arguments, **options: {engine!r}
        """)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", "logprobs")
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_every_misleading_engine_is_tried():
    assert set(CASES) == set(MISLEADING)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.slow) if fault in SEEN_BY_FALSIFY else fault for fault in CASES],
)
def test_a_fault_trips_its_checks_and_no_other(run, fault):
    found = run(f"pytest_aprqa.misbehaving_engine:{fault}")
    assert set(found) == set(CASES[fault])
    for gate, words in CASES[fault].items():
        assert words in found[gate], found[gate]
    if fault == "logprobs_after_temperature":
        assert "at temperature 0" not in found[RAW]


def test_a_field_that_is_forgotten_is_a_finding_and_a_refusal_is_none(run, project):
    assert "logprobs is ignored" in run("pytest_aprqa.misbehaving_engine:ignores_logprobs")[RAW]
    assert run("pytest_aprqa.misbehaving_engine:no_fault") == {}
    entries = project.evidence()
    assert {e["outcome"] for e in entries} == {"Skipped"}
    assert all("offers no log-probabilities" in e["reason"] for e in entries)


def test_the_real_engine_is_within_its_limit(run, project):
    assert run("torch") == {}
    entries = {e["gate_id"]: e for e in project.evidence()}
    assert {gate: e["outcome"] for gate, e in entries.items()} == dict.fromkeys((RAW, CHAT, STREAM), "Corroborated")
    for gate in (RAW, CHAT):
        observed = {one["name"]: one["value"] for one in entries[gate]["observed"]}
        assert observed["logits_from"] == "torch"
        assert observed["positions_compared"] >= 8
        assert observed["values_compared"] >= 40
        assert observed["rms_difference"] < 1e-3
