"""Checks of behaviour are seen to fail: a really misbehaving engine or server turns exactly the right item red."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.conftest import TINY_MODEL
from tests.plugin.test_gateways_fail import red

ENGINE = Path(__file__).with_name("misbehaving_engine.py")
BEHAVIOUR = (
    "reproducible or empty_prompt or longer_than or unicode_prompt or token_limit or throughput or health"
    " or streamed or bad_requests or run_and_serve"
)

# fault -> (gate, item that must be red, words of its reason)
CASES = {
    "drifts": ("F-STAB-001", "test_answers_are_reproducible", "again"),
    "depends-on-the-batch": ("F-STAB-001", "test_answers_are_reproducible", "alone"),
    "broken-by-an-empty-prompt": ("F-EDGE-001", "test_empty_prompt", "does not answer after an empty prompt"),
    "cuts-long-prompts": ("F-EDGE-002", "test_prompt_longer_than_the_context", "cut without a word"),
    "refuses-without-a-limit": ("F-EDGE-002", "test_prompt_longer_than_the_context", "does not name the limit"),
    "unicode-lost": ("F-EDGE-003", "test_unicode_prompt", "the model was shown"),
    "ignores-the-token-limit": ("F-EDGE-004", "test_token_limit_is_respected", "max_tokens 1: "),
    "slow": ("F-PERF-001", "test_throughput", "tok/s < 1000 min"),
    "health-says-503": ("F-HTTP-002", "test_health_answers", "GET /health: status 503"),
    "lists-no-model": ("F-HTTP-002", "test_health_answers", "lists no model"),
    "stream-loses-a-piece": ("F-HTTP-010", "test_streamed_chat_equals_whole_chat", "streamed '4 i"),
    "stream-without-an-end": ("F-HTTP-010", "test_streamed_chat_equals_whole_chat", "without data: [DONE]"),
    "usage-counts-nothing": ("F-HTTP-010", "test_streamed_chat_equals_whole_chat", "no completion token"),
    "bad-request-is-200": ("F-HTTP-017", "test_bad_requests_are_refused", "not JSON: status 200"),
    "server-adds-a-space": ("F-MODALITY-001", "test_run_and_serve_agree", "prompt ids"),
}


@pytest.fixture
def misbehave(project, monkeypatch):
    """Run the checks of behaviour on the engine with one fault; the evidence of what is red, by check."""
    shutil.copy(ENGINE, project.path)
    monkeypatch.setenv("PYTHONPATH", str(project.path))
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "misbehaving_engine:MisbehavingEngine"
    """)
    path = project.write_playbook(
        test_matrix={"modalities": ["run", "chat", "serve"], "prompts": ["What is 2+2?", "Hello!"]},
        profile_ci={"enabled": True, "warmup": 0, "measure": 2, "assertions": {"min_throughput_cpu": 1000}},
    )

    def run(fault, select=BEHAVIOUR):
        monkeypatch.setenv("APRQA_FAULT", fault)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", select)
        return {e["check"]: e for e in red(project.evidence()).values()}

    return run


@pytest.mark.parametrize("fault", CASES)
def test_a_misbehaving_engine_trips_its_check(misbehave, fault):
    gate, check, words = CASES[fault]
    failures = misbehave(fault)
    assert check in failures, sorted(failures)
    assert failures[check]["gate_id"] == gate
    assert words in failures[check]["reason"], failures[check]["reason"]


def test_the_engine_without_a_fault_turns_nothing_red_but_speed_that_is_asked_too_high(misbehave):
    assert set(misbehave("", BEHAVIOUR.replace("throughput or ", ""))) == set()


def test_dimensions_other_than_the_playbooks_are_named(project):
    path = project.write_playbook(
        model={"expected_hidden_dim": 255, "expected_num_layers": 4}, test_matrix={"modalities": ["run"]}
    )
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "expected_one")
    (entry,) = red(project.evidence()).values()
    assert entry["gate_id"] == "G0-INTEGRITY-EXPECTED"
    assert "hidden_dim mismatch: expected 255, got 256" in entry["reason"]


@pytest.mark.parametrize("size", ["tiny", "small", "huge"])
def test_another_size_than_the_playbook_states_is_named(project, size):
    path = project.write_playbook(model={"hf_repo": "aprqa/x", "size_category": size})
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "expected_one")
    (entry,) = project.evidence()
    assert entry["gate_id"] == "G0-INTEGRITY-EXPECTED"
    if size == "tiny":
        assert entry["outcome"] == "Corroborated"
    else:
        assert entry["outcome"] == "Falsified"
        assert f"size_category mismatch: {size} is " in entry["reason"]


def test_a_converter_that_writes_the_time_into_a_tensor_is_not_reproducible(project, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(project.path / "cache"))
    project.pytester.makeconftest("""
        import time
        from pytest_aprqa.lifecycle import derive

        def with_time(source, path, **options):
            real(source, path, **options)
            data = path.read_bytes()
            path.write_bytes(data[:-8] + time.time_ns().to_bytes(8, "little"))

        real = derive._WRITERS["gguf"]
        derive._WRITERS["gguf"] = with_time
    """)
    path = project.write_playbook(
        local_path=TINY_MODEL, model={"formats": ["safetensors", "gguf"]}, test_matrix={"modalities": ["run"]}
    )
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "conversion_is_reproducible")
    (entry,) = red(project.evidence()).values()
    assert entry["gate_id"] == "F-CONV-IDEM-001"
    assert "first" in entry["reason"]
