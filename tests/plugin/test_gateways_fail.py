"""Each gateway is seen to fail: one seeded defect in one format turns the right items red, and only that format's."""

from __future__ import annotations

import shutil

import pytest

from pytest_aprqa.defects.catalogue import DEFECTS, apply_defect
from pytest_aprqa.lifecycle.derive import derive
from tests.plugin.conftest import TINY_MODEL

TIMEOUT_MS = {"gguf-chat-template-endless": 4_000}  # waited for once a prompt; other defects end by themselves
PROMPTS = ["What is 2+2?", "Hello!", "What is 47+38?", "def fibonacci(n):"]
FAILING = ("Falsified", "Crashed", "Timeout")

# defect -> (gateway, items that must be red, gate and words that its message must have)
CASES = {
    "apr-data-bit-flipped": ("G0", {"test_file_is_sound[apr]"}, "checksum does not match"),
    "gguf-nan-in-tensor": ("G0", {"test_tensor_values_are_sound[gguf]"}, "blk.0.ffn_down.weight: 1 NaN"),
    "apr-tensor-all-zero": ("G0", {"test_tensor_values_are_sound[apr]"}, "mlp.up_proj.weight: all"),
    "gguf-layers-wrong": ("G0", {"test_configuration_matches_tensors[gguf]"}, "config says 5 layers"),
    "gguf-hidden-size-wrong": ("G0", {"test_configuration_matches_tensors[gguf]"}, "hidden_size=4096"),
    "gguf-projection-transposed": ("G0", {"test_tensor_layout[gguf]"}, "(transposed)"),
    "gguf-tensor-missing": ("G1", {"test_model_loads[gguf-cpu]"}, "model.norm.weight"),
    "apr-merges-lost": ("G1", {"test_tokenizer_is_complete[apr]", "test_model_loads[apr-cpu]"}, "no merges"),
    "gguf-chat-template-lost": ("G1", {"test_tokenizer_is_complete[gguf]"}, "no chat template"),
    "gguf-chat-template-raises": ("G2", {"test_basic_inference_answers[gguf-cpu-chat]"}, "must alternate"),
    "gguf-end-row-scaled": (
        "G2",
        {"test_basic_inference_answers[gguf-cpu-run]", "test_basic_inference_answers[gguf-cpu-chat]"},
        "no text",
    ),
    "gguf-chat-template-endless": ("G3", {"test_engine_survives[gguf-cpu-chat]"}, "within 4000 ms"),
    "gguf-embedding-shifted": ("G4", {"test_output_is_not_garbage[gguf-cpu-chat-p01]"}, "control characters"),
}


def prepare(project, name, work_cache):
    """A model folder with the defect in it, and a playbook over the broken format and the source."""
    defect = DEFECTS[name]
    model = project.path / "model"
    formats = ["safetensors"]
    if defect.format == "safetensors":
        apply_defect(name, TINY_MODEL, model)
    else:
        shutil.copytree(TINY_MODEL, model)
        clean = derive(TINY_MODEL, defect.format, cache=work_cache)
        apply_defect(name, clean.path, model / f"model.{defect.format}")
        formats.append(defect.format)
    return project.write_playbook(
        local_path=model,
        model={"formats": formats, "quantizations": ["bf16"]},
        test_matrix={
            "modalities": ["run", "chat"],
            "scenario_count": len(PROMPTS),
            "prompts": PROMPTS,
            "timeout_ms": TIMEOUT_MS.get(name, 10_000),
            "max_tokens": 48,
        },
    )


def red(evidence):
    return {e["node_id"].split("::", 1)[1]: e for e in evidence if e["outcome"] in FAILING}


@pytest.mark.parametrize("name", CASES)
def test_a_seeded_defect_trips_its_gateway(project, work_cache, name):
    gateway, expected, words = CASES[name]
    path = prepare(project, name, work_cache)
    result = project.run(f"--playbook={path}", "--tb=no", "-q", "-m", "gateway")
    assert result.ret == 1
    failures = red(project.evidence())
    assert expected <= set(failures), f"not red: {expected - set(failures)}; red: {sorted(failures)}"
    broken = DEFECTS[name].format
    assert {e["scenario"]["format"] for e in failures.values()} == {broken}, "an unbroken format turned red"
    for item in expected:
        assert failures[item]["gateway"] == gateway
    assert any(words in failures[item]["reason"] for item in expected)
    score = project.score()
    assert score["raw_score"] == 0
    assert score["status"] == "BLOCKED"
    assert gateway in {g["id"] for g in score["gateways"] if g["passed"] is False}
    result.stdout.fnmatch_lines([f"*{gateway} FAIL*"])


def test_a_crashing_tokenizer_is_a_crash_with_its_last_words_and_the_run_goes_on(project, work_cache):
    path = prepare(project, "decoder-panics", work_cache)
    result = project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "survives or file_is_sound or accepted")
    assert result.ret == 1
    evidence = project.evidence()
    crashed = {e["node_id"].split("::", 1)[1]: e for e in evidence if e["outcome"] == "Crashed"}
    assert set(crashed) == {f"test_engine_survives[safetensors-cpu-{m}]" for m in ("run", "chat")}
    for entry in crashed.values():
        assert entry["gate_id"] == "G3-STABLE"
        assert "PanicException" in entry["stderr"]
        assert entry["exit_code"]
    answers = [e for e in evidence if e["check"] == "test_answer_is_accepted"]
    assert {e["outcome"] for e in answers} == {"Skipped", "Corroborated"}, "only the guilty prompts are without answer"
    blocked = [e for e in answers if e["outcome"] == "Skipped"]
    assert all("blocked: no answer, see G3-STABLE" in e["reason"] for e in blocked)


def test_a_clean_model_turns_nothing_red(project, work_cache):
    path = project.write_playbook(
        model={"formats": ["safetensors", "gguf", "apr"], "quantizations": ["bf16"]},
        test_matrix={
            "modalities": ["run", "chat"],
            "scenario_count": 4,
            "prompts": PROMPTS,
            "max_tokens": 48,
        },
    )
    project.run(f"--playbook={path}", "--tb=short", "-q")
    assert red(project.evidence()) == {}
