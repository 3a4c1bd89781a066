"""Each contract invariant is seen to fail: one seeded defect in a converted file, named by the invariant it breaks."""

from __future__ import annotations

import pytest

from tests.plugin.test_gateways_fail import prepare, red

# defect -> (invariant, item that must be red, words of its reason)
CASES = {
    "apr-rope-theta-wrong": ("I-1", "test_round_trip_identity[apr-cpu]", "differ from the reference"),
    "gguf-tensor-renamed": ("I-2", "test_tensor_names_are_in_bijection[gguf]", "model.layers.0.mlp.down_proj.weight"),
    "apr-type-fallback": ("I-3", "test_no_silent_type_fallback[apr]", "BF16 in the source, F32 in the artifact"),
    "gguf-tensor-scaled": ("I-4", "test_values_are_preserved[gguf]", "scaled by about 1.25"),
    "gguf-token-types-lost": ("I-5", "test_tokenizer_round_trip[gguf]", "token types lost"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_seeded_defect_breaks_its_invariant(project, work_cache, name):
    invariant, item, words = CASES[name]
    path = prepare(project, name, work_cache)
    result = project.run(f"--playbook={path}", "-q", "--tb=no", "-m", "invariant")
    assert result.ret == 1
    failures = red(project.evidence())
    assert item in failures, sorted(failures)
    assert failures[item]["invariant"] == invariant
    assert failures[item]["severity"] == "P0"
    assert words in failures[item]["reason"]
    assert all("safetensors" not in node for node in failures), "the source turned red"


@pytest.mark.slow
def test_a_scaled_tensor_blocks_a_model_that_keeps_its_points(project, work_cache):
    path = prepare(project, "gguf-tensor-scaled", work_cache)
    result = project.run(f"--playbook={path}", "-q", "--tb=no")
    assert result.ret == 1
    score = project.score()
    assert score["gateways_passed"] is True
    assert score["raw_score"] >= 700  # the seed's status would be PROVISIONAL at least
    assert score["status"] == "BLOCKED"
    assert "F-CONTRACT-I4-001" in {refuted["gate_id"] for refuted in score["refuted"]}
    result.stdout.fnmatch_lines(["BLOCKED  *", "because * P0 check F-* refuted*"])
