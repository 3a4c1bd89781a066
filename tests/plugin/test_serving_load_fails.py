"""Each check of the server under load is seen to fail on a server with one fault, and to pass without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.test_gateways_fail import red

# fault -> (gate, check, words of the reason)
CASES = {
    "usage-lies": ("F-HTTP-014", "test_usage_counts_are_true", "usage counts 8 prompt tokens, not 7"),
    "huge-limit-is-500": ("F-HTTP-018", "test_huge_token_limit_is_no_crash", "max_tokens 1000000: status 500"),
    "mixes-clients": ("F-HTTP-019", "test_concurrent_clients_get_the_same_answers", "with 9 others 'xxx"),
    "one-client-at-a-time": ("F-SERVE-006", "test_slow_and_half_closed_clients_block_nobody", "ReadTimeout"),
    "generates-for-nobody": ("F-SERVE-007", "test_client_that_goes_away_frees_its_slot", "still generates for them"),
    "stream-at-once": ("F-SERVE-003", "test_stream_comes_in_pieces", "the stream is not live"),
    "byte-symbols": ("F-MODALITY-004", "test_text_is_the_decoded_ids", "its ids are ' What is"),
}
SELECTED = "usage_counts or huge or concurrent or slow_and or goes_away or comes_in_pieces or decoded_ids"


@pytest.fixture
def failures(project, monkeypatch):
    shutil.copy(Path(__file__).with_name("serving_faults.py"), project.path)
    monkeypatch.setenv("PYTHONPATH", str(project.path))
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "serving_faults:ServingFaults"
    """)
    path = project.write_playbook(
        test_matrix={"modalities": ["run", "serve"], "prompts": ["What is 2+2?", "Hello!"], "timeout_ms": 4000}
    )

    def run(fault, select=SELECTED):
        monkeypatch.setenv("APRQA_FAULT", fault)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", select)
        assert len(project.evidence()) >= select.count(" or ") + 1
        return {e["check"]: e for e in red(project.evidence()).values()}

    return run


@pytest.mark.parametrize("fault", CASES)
def test_a_fault_of_the_server_trips_its_check(failures, fault):
    gate, check, words = CASES[fault]
    found = failures(fault, check)
    assert list(found) == [check]
    assert found[check]["gate_id"] == gate
    assert words in found[check]["reason"], found[check]["reason"]


def test_a_server_without_a_fault_turns_nothing_red(failures):
    assert failures("") == {}
