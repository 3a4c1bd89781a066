"""Checks of sampling, conversation, stop sequences and shutdown are seen to fail on an engine with one fault."""

from __future__ import annotations

import pytest

from tests.plugin.test_gateways_fail import red

SELECTED = "draws or top_p or seed or stop_sequences or every_turn or shutdown"
# fault -> (gate, check, words of the reason)
CASES = {
    "halves_the_temperature": ("F-SAMPLE-001", "test_draws_follow_the_temperature", "draws do not follow the logits"),
    "ignores_top_p": ("F-SAMPLE-002", "test_top_p_is_obeyed_or_refused", "draws do not follow the logits"),
    "ignores_the_seed": ("F-STAB-002", "test_a_seed_names_one_answer", ", then ["),
    "has_one_seed": ("F-STAB-002", "test_a_seed_names_one_answer", "the seed or the temperature is ignored"),
    "ignores_stop_sequences": ("F-CHAT-004", "test_stop_sequences_are_obeyed_or_refused", "is ignored"),
    "forgets_the_first_turn": ("F-HTTP-013", "test_chat_reads_every_turn", "3 turns: "),
    "leaves_the_port": ("F-HTTP-004", "test_shutdown_leaves_no_process_and_no_port", " still answers"),
    "broken_by_a_half_closed_client": (
        "F-SERVE-006",
        "test_slow_and_half_closed_clients_block_nobody",
        "status 503",
    ),
    "leaves_a_process": ("F-HTTP-004", "test_shutdown_leaves_no_process_and_no_port", "after the end of the server: "),
}


@pytest.fixture
def run(project):
    path = project.write_playbook(test_matrix={"modalities": ["run", "chat", "serve"]})

    def run(engine, select):
        project.pytester.makeconftest(f"""
            import pytest_aprqa.engines.selection as selection

            selection.engine_for = lambda *arguments, **options: {engine!r}
        """)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", select)
        return {e["check"]: e for e in red(project.evidence()).values()}

    return run


@pytest.mark.parametrize("fault", CASES)
def test_a_fault_trips_its_check(run, fault):
    gate, check, words = CASES[fault]
    found = run(f"pytest_aprqa.misbehaving_engine:{fault}", check)
    assert list(found) == [check]
    assert found[check]["gate_id"] == gate
    assert words in found[check]["reason"]


def test_the_real_engine_turns_nothing_red_and_the_shutdown_comes_last(run, project):
    assert run("torch", SELECTED) == {}
    entries = project.evidence()
    assert {e["outcome"] for e in entries} == {"Corroborated"}
    assert len(entries) == 6
    assert entries[-1]["check"] == "test_shutdown_leaves_no_process_and_no_port"
