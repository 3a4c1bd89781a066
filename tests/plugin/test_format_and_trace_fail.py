"""The gates of file format, hidden states and padding: each seen to fail on a real-world defect, with its own cause."""

from __future__ import annotations

import shutil

import pytest

from pytest_aprqa.defects.catalogue import DEFECTS, apply_defect
from pytest_aprqa.lifecycle.derive import derive
from tests.formats.apr_builder import Row, apr_bytes
from tests.plugin.conftest import TINY_MODEL
from tests.plugin.test_gateways_fail import red

BLOCKS = {
    "differential_tests": {name: {"enabled": True} for name in ("format_validation", "inference_compare")},
    "trace_payload": {"enabled": True},
}
FILES = "explain_the_bytes or tensors_are_aligned or header_is_sound"
# defect -> (gate that must name it, its words, gates of the block that must stay silent)
FORMAT_CASES = {
    "gguf-type-unknown": ("F-APR-FORMAT-001", "unknown type (found 142", {"F-APR-FORMAT-002"}),
    "apr-type-too-large": ("F-APR-FORMAT-001", "size does not match F64 of shape", {"F-APR-FORMAT-002"}),
    "gguf-tensor-misaligned": ("F-APR-FORMAT-002", "is 4 bytes past a multiple of 32", set()),
    "apr-tensor-misaligned": ("F-APR-FORMAT-002", "is 4 bytes past a multiple of 64", set()),
    "apr-footer-lost": ("F-APR-FORMAT-003", "checksum is missing", {"F-APR-FORMAT-001", "F-APR-FORMAT-002"}),
    "index-counts-files": ("F-APR-FORMAT-003", "metadata.total_size says", {"F-APR-FORMAT-001", "F-APR-FORMAT-002"}),
}
# defect -> (select, gate that must name it, its words); the others of these blocks are in test_differential_fails.py
ENGINE_CASES = {
    "activations-overflow": ("hidden_states_are_finite", "F-TRACE-PAYLOAD-001", "layer 0: ", "are NaN or infinite"),
    "tokenizer-shifted": ("traced_answer", "F-TRACE-PAYLOAD-002", "'What is 2+2?'", "control characters"),
    "gguf-padding-flood": ("flood_of_padding", "F-ROSETTA-INF-003", "tokens are padding", "limit 50%"),
}


@pytest.fixture
def judged(project, work_cache):
    """Run some checks on a copy with a defect, against the clean source; gate -> reason of what is red."""

    def run(name, select):
        defect = DEFECTS[name]
        clean = defect.prepare(TINY_MODEL, project.path / "clean")
        model = project.path / "model"
        if defect.format == "safetensors":
            apply_defect(name, clean, model)
        else:
            shutil.copytree(clean, model)
            made = derive(clean, defect.format, cache=work_cache, dtype=defect.base)
            apply_defect(name, made.path, model / f"model.{defect.format}")
        playbook = project.write_playbook(
            local_path=model, model={"formats": [defect.format], "quantizations": ["bf16"]}, **BLOCKS
        )
        project.run(f"--playbook={playbook}", f"--against={clean}", "--tb=short", "-q", "-k", select)
        return {entry["gate_id"]: entry["reason"] for entry in red(project.evidence()).values()}

    return run


@pytest.mark.parametrize("name", FORMAT_CASES)
def test_the_gate_of_the_format_names_what_is_wrong(judged, name):
    gate, words, silent = FORMAT_CASES[name]
    found = judged(name, FILES)
    assert words in found[gate]
    assert not silent & set(found)


@pytest.mark.parametrize("format_name", ["apr", "gguf", "safetensors"])
def test_a_sound_file_passes_every_rule_of_its_format(project, work_cache, format_name):
    model = project.path / "model"
    shutil.copytree(TINY_MODEL, model)
    if format_name != "safetensors":
        shutil.copyfile(derive(TINY_MODEL, format_name, cache=work_cache).path, model / f"model.{format_name}")
    playbook = project.write_playbook(local_path=model, model={"formats": [format_name]}, **BLOCKS)
    project.run(f"--playbook={playbook}", "-q", "-k", FILES)
    outcomes = {entry["gate_id"]: entry["outcome"] for entry in project.evidence()}
    aligned = "Skipped" if format_name == "safetensors" else "Corroborated"
    assert outcomes == {
        "F-APR-FORMAT-001": "Corroborated",
        "F-APR-FORMAT-002": aligned,
        "F-APR-FORMAT-003": "Corroborated",
    }


def test_a_head_without_bytes_is_sound_as_the_apr_program_writes_it(project):
    model = project.path / "model"
    shutil.copytree(TINY_MODEL, model)
    values = bytes(range(64)) * 16
    rows = [Row("lm_head.weight", 30, (16, 32), b""), Row("model.embed_tokens.weight", 30, (16, 32), values)]
    (model / "model.apr").write_bytes(apr_bytes(rows))
    playbook = project.write_playbook(local_path=model, model={"formats": ["apr"]}, **BLOCKS)
    project.run(f"--playbook={playbook}", "-q", "-k", FILES)
    assert {entry["outcome"] for entry in project.evidence()} == {"Corroborated"}
    assert len(project.evidence()) == 3


@pytest.mark.parametrize("name", ENGINE_CASES)
def test_the_gate_of_what_is_computed_names_what_is_wrong(judged, name):
    select, gate, *words = ENGINE_CASES[name]
    found = judged(name, select)
    assert set(found) == {gate}
    assert all(word in found[gate] for word in words), found[gate]
