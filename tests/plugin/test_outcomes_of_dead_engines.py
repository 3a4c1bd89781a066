"""Each way for an engine to die or hang, with a real child that does it: outcome, last words, core, and later items."""

from __future__ import annotations

import os

import pytest

from tests.plugin.conftest import REPOSITORY

# class of tests/engines/misbehaving_engines.py: outcome, exit code, signal, words of the evidence
DEATHS = {
    "Segfaults": ("Crashed", -11, "SIGSEGV", "Segmentation fault"),
    "Aborts": ("Crashed", -6, "SIGABRT", "Aborted"),
    "IsKilled": ("Crashed", -9, "SIGKILL", ""),
    "EatsMemoryUnderALimit": ("Crashed", 12, None, "MemoryError: the engine ran out of memory"),
    "Panics": ("Crashed", 101, None, "index out of bounds"),
    "Hangs": ("Timeout", None, None, ""),
    "GeneratesForEver": ("Timeout", None, None, ""),
    "Deadlocks": ("Timeout", None, None, ""),
}


@pytest.mark.parametrize("name", DEATHS)
def test_a_child_that_dies_or_hangs_has_its_outcome_and_harms_no_other_item(project, monkeypatch, name):
    outcome, exit_code, signal, words = DEATHS[name]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    project.pytester.makeconftest(f"""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "tests.engines.misbehaving_engines:{name}"
    """)
    limit_ms = 2000 if outcome == "Timeout" else 60000  # a death comes when it comes, on a busy machine later
    matrix = {"prompts": ["guilty", "Hello!"], "scenario_count": 2, "timeout_ms": limit_ms}
    path = project.write_playbook(test_matrix=matrix)
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "survives or accepted or engine_loads")
    evidence = project.evidence()
    (entry,) = (e for e in evidence if e["gate_id"] == "G3-STABLE")
    assert entry["outcome"] == outcome, entry["reason"]
    if outcome == "Crashed":
        assert entry["exit_code"] == exit_code
        assert words in entry["stderr"]
        assert (signal or f"exit code {exit_code}") in entry["reason"]
    else:
        assert entry["metrics"]["duration_ms"] == 2000
        assert "within 2000 ms" in entry["reason"]
    assert entry["metadata"].get("signal") == signal
    assert ("core" in entry["metadata"]) == (signal is not None)
    answers = {e["scenario"]["prompt"]: e["outcome"] for e in evidence if e["check"] == "test_answer_is_accepted"}
    assert answers["guilty"] == "Skipped", "blocked: it has no answer"
    if name == "GeneratesForEver":
        assert answers["Hello!"] == "Skipped"  # it never answers anything
    else:
        assert answers["Hello!"] == "Corroborated"
