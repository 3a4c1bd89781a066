"""Logits, best tokens, perplexity and greedy text are seen to part from the source's, with the layer that is first."""

from __future__ import annotations

import pytest

from tests.plugin.test_gateways_fail import prepare, red

CASES = {
    "gguf-rope-theta-wrong": {
        "F-HFP-001": "first divergence after layer 0",
        "F-PARITY-001": "lead above 0.03",
        "F-CONTRACT-I1-001": "differ from the reference",
    },
    "gguf-layers-swapped": {
        "F-HFP-001": "mean KL divergence",
        "F-PAR-003": "times the source's, limit 1.01",
        "F-GOLDEN-RULE-001": "Golden Rule FAIL: output differs after conversion.",
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_defect_in_one_format_parts_it_from_the_source(project, work_cache, name):
    path = prepare(project, name, work_cache)
    result = project.run(f"--playbook={path}", "-q", "--tb=no", "--depth", "text")
    assert result.ret == 1
    failures = red(project.evidence())
    assert {e["scenario"]["format"] for e in failures.values()} == {"gguf"}, "the source turned red"
    reasons = {e["gate_id"]: e["reason"] for e in failures.values()}
    for gate, words in CASES[name].items():
        assert words in reasons[gate]


def test_an_engine_that_calls_itself_torch_is_not_its_own_reference(project):
    """The careless engine says of itself what the reference engine says, and rounds the source's weights to 2 bits."""
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "pytest_aprqa.misbehaving_engine:rounds_weights"
    """)
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "-q", "--tb=no", "-k", "(logits_are or golden_rule) and safetensors")
    assert result.ret == 1
    failures = red(project.evidence())
    assert {e["gate_id"] for e in failures.values()} == {"F-HFP-001", "F-GOLDEN-RULE-001"}


def test_a_source_that_the_reference_engine_does_not_run_refutes_nothing(project):
    """Another engine may run the family: what it does is not compared, and that is said."""
    project.pytester.makeconftest("import pytest_aprqa.models.families as families\nfamilies.FAMILIES = ('llama',)")
    path = project.write_playbook()
    chosen = "(logits_are or golden_rule or round_trip_identity or one_prompt) and safetensors"
    project.run(f"--playbook={path}", "-q", "--tb=no", "-k", chosen)
    entries = [e for e in project.evidence() if e["gate_id"] in {"F-HFP-001", "F-GOLDEN-RULE-001", "F-CONTRACT-I1-001"}]
    assert {e["outcome"] for e in entries} == {"Skipped"}
    assert all("reference engine does not run the architecture 'qwen2'" in e["reason"] for e in entries)
    assert len(entries) == 3
