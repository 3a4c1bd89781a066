"""Each check of the blocks `differential_tests` and `trace_payload` is seen to fail on a seeded defect, and to pass."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from tests.plugin.conftest import TINY_MODEL
from tests.plugin.test_gateways_fail import red

BLOCKS = {
    "differential_tests": {
        name: {"enabled": True}
        for name in ("format_validation", "tensor_diff", "inference_compare", "fingerprint", "validate_stats")
    },
    "trace_payload": {"enabled": True},
}
WITHOUT_ENGINE = (
    "explain_the_bytes or aligned or header or transposed or another_shape or fingerprints or checksums"
    " or statistics or gains_of or lost_its_spread"
)
WITH_ENGINE = "best_tokens_of_the_answer or logits_of_the_answer or flood or hidden_states or traced_answer"
NORM, DOWN, QUERY = (
    f"model.layers.1.{part}.weight" for part in ("input_layernorm", "mlp.down_proj", "self_attn.q_proj")
)
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def changed(project):
    """Run the checks on a copy whose tensors were changed, against the clean model; gate -> reason of what is red."""

    def run(change, select=WITHOUT_ENGINE, blocks=BLOCKS, against=TINY_MODEL):
        folder = project.path / "model"
        shutil.copytree(TINY_MODEL, folder)
        with open_tensor_file(TINY_MODEL) as file:
            tensors = {name: file.read(name) for name in file.entries}
        change(tensors)
        stored = {n: ("BF16", v.shape, codecs.encode("BF16", v)) for n, v in tensors.items()}
        write_safetensors(folder / "model.safetensors", stored)
        playbook = project.write_playbook(local_path=folder, model={"quantizations": ["bf16"]}, **blocks)
        project.run(f"--playbook={playbook}", f"--against={against}", "--tb=short", "-q", "-k", select)
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_an_unchanged_copy_turns_nothing_red_and_every_gate_of_the_blocks_has_its_item(changed, project):
    assert changed(lambda tensors: None, f"{WITHOUT_ENGINE} or {WITH_ENGINE}") == {}
    gates = {e["gate_id"]: e["outcome"] for e in project.evidence()}
    assert {g for g in gates if g.startswith(("F-ROSETTA", "F-TRACE", "F-APR-FORMAT"))} == {
        *(f"F-ROSETTA-DIFF-{n:03}" for n in (1, 2)),
        *(f"F-ROSETTA-INF-{n:03}" for n in (1, 2, 3)),
        *(f"F-ROSETTA-FP-{n:03}" for n in (1, 2, 3)),
        *(f"F-ROSETTA-STATS-{n:03}" for n in range(1, 7)),
        *(f"F-APR-FORMAT-{n:03}" for n in (1, 2, 3)),
        *(f"F-TRACE-PAYLOAD-{n:03}" for n in (1, 2, 3)),
        "F-TRACE-DIFF-001",
    }
    assert [gate for gate, outcome in gates.items() if outcome == "Skipped"] == ["F-APR-FORMAT-002"]


def test_changed_values_trip_statistics_fingerprints_and_checksums(changed):
    def change(tensors):
        tensors[NORM] *= 3
        tensors[EMBEDDING] += 0.5
        tensors[QUERY] *= 2
        tensors["model.layers.0.mlp.up_proj.weight"][:] = 0.25
        tensors[DOWN][0, 0] = np.nan

    found = changed(change)
    assert f"{NORM}: mean" in found["F-ROSETTA-STATS-001"]
    assert f"{EMBEDDING}: mean" in found["F-ROSETTA-STATS-002"]
    assert f"{QUERY}: std" in found["F-ROSETTA-STATS-003"]
    assert "F-ROSETTA-STATS-004" in found
    assert f"{NORM}: mean" in found["F-ROSETTA-STATS-005"]
    assert "constant: model.layers.0.mlp.up_proj.weight" in found["F-ROSETTA-STATS-006"]
    assert f"{DOWN}: 1 NaN" in found["F-ROSETTA-FP-001"]
    assert "checksums differ" in found["F-ROSETTA-FP-002"]
    assert "statistics differ" in found["F-ROSETTA-FP-003"]


def test_transposed_and_lost_tensors_trip_the_tensor_diff(changed):
    def change(tensors):
        tensors[DOWN] = tensors[DOWN].T.copy()
        tensors[QUERY] = tensors[QUERY].T.copy()  # a square one: its shape says nothing
        del tensors["model.norm.weight"]

    found = changed(change)
    assert found["F-ROSETTA-DIFF-001"].startswith("2 of ")
    assert "model.norm.weight: missing" in found["F-ROSETTA-DIFF-002"]


def test_changed_weights_trip_the_comparison_of_engines_and_the_first_divergence_is_named(changed):
    def change(tensors):
        tensors[DOWN] *= 60

    found = changed(change, WITH_ENGINE)
    assert "first divergence after layer 1" in found["F-TRACE-DIFF-001"]
    assert "limit" in found["F-TRACE-PAYLOAD-003"]
    assert "token" in found["F-ROSETTA-INF-001"]
    assert "largest difference of a logit" in found["F-ROSETTA-INF-002"]


def test_a_file_compared_with_itself_and_zeros_fail(changed, project):
    found = changed(lambda tensors: None, f"{WITHOUT_ENGINE} or {WITH_ENGINE}", against=project.path / "model")
    for gate in ("F-ROSETTA-DIFF-001", "F-ROSETTA-FP-002", "F-ROSETTA-STATS-001"):
        assert "self-comparison" in found[gate], gate


def test_zero_tensors_are_no_comparison(changed):
    def change(tensors):
        for values in tensors.values():
            values[:] = 0

    found = changed(change)
    assert "tensors are zero: a comparison of zeros is none" in found["F-ROSETTA-DIFF-001"]
    assert "are zero" in found["F-ROSETTA-FP-001"]


def test_a_reference_file_of_zeros_is_no_reference_and_an_absent_one_a_skip(changed, project):
    names = [EMBEDDING, NORM, QUERY]
    rows = [{"name": name, "mean": 0, "std": 0, "min": 0, "max": 0} for name in names]
    (project.path / "zeros.json").write_text(json.dumps({"fingerprints": rows}))
    blocks = {"differential_tests": {"validate_stats": {"enabled": True, "reference": "zeros.json"}}}
    found = changed(lambda tensors: None, "statistics", blocks)
    assert "all statistics of the 3 tensors of the reference are zero" in found["F-ROSETTA-STATS-004"]


def test_blocks_that_are_not_configured_make_no_items(project):
    path = project.write_playbook()
    project.run(f"--playbook={path}", "--collect-only", "-q")
    result = project.run(f"--playbook={path}", "--collect-only", "-q")
    text = "\n".join(result.outlines)
    assert "hidden_states" not in text
    assert "transposed" not in text
    assert "test_answers_are_reproducible" in text


def test_listed_gates_that_no_check_files_and_other_blocks_stay_visible(project):
    path = project.write_playbook(
        differential_tests={"tensor_diff": {"enabled": True, "gates": ["F-ROSETTA-DIFF-001", "F-ROSETTA-DIFF-009"]}},
        tools_required=["apr"],
    )
    project.run(f"--playbook={path}", "-q", "-k", "configured_block")
    found = {e["node_id"].split("[")[1]: e["outcome"] for e in project.evidence()}
    assert found == {
        "differential_tests.tensor_diff: F-ROSETTA-DIFF-009]": "Skipped",
        "tools_required]": "Skipped",
    }


def test_an_engine_that_calls_itself_torch_is_compared_with_the_reference(project):
    """Only the engine that we start under that name is the reference; another one's word is not taken."""
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "pytest_aprqa.misbehaving_engine:rounds_weights"
    """)
    playbook = project.write_playbook(**BLOCKS)
    project.run(f"--playbook={playbook}", "--tb=short", "-q", "-k", "logits_of_the_answer and safetensors")
    assert [e["outcome"] for e in project.evidence()] == ["Falsified"]
