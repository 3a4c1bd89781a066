"""Broken model folders: each fault is one clear finding, in one line, and the run goes on to its end."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.defects.catalogue import apply_defect
from tests.plugin.conftest import TINY_MODEL

# defect -> (gates that must be red, words that one of their reasons must have)
CASES = {
    "config-missing": ({"G0-INTEGRITY-CONFIG", "G1-LOAD-001"}, "No config.json found"),
    "shard-missing": ({"G0-INTEGRITY-FILE", "G1-LOAD-001"}, "shard"),
    "weights-truncated": ({"G0-INTEGRITY-FILE", "G1-LOAD-001"}, "shorter than its tensors"),
    "header-length-hostile": ({"G0-INTEGRITY-FILE", "G1-LOAD-001"}, "header is too long"),
    "weights-are-lfs-pointer": ({"G0-INTEGRITY-FILE", "G1-LOAD-001"}, "Git LFS pointer"),
    "weights-are-error-page": ({"G0-INTEGRITY-FILE", "G1-LOAD-001"}, "HTML"),
    "infinity-in-tensor": ({"G0-VALIDATE-001"}, "1 infinite"),
    "layer-tensor-missing": ({"G0-TENSOR-001", "G1-LOAD-001"}, "model.layers.0.self_attn.k_proj.weight"),
    "tensor-extra": ({"G0-TENSOR-001", "G1-LOAD-001"}, "lora_A"),
    "tokenizer-missing": ({"G1-TOKENIZER-001", "G1-LOAD-001"}, "tokenizer"),
    "config-vocabulary-wrong": ({"G0-INTEGRITY-CONFIG", "G1-TOKENIZER-001"}, "vocab_size=256 but embedding has 816"),
    "architecture-unknown": ({"G1-LOAD-001"}, "nonesuch"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_finding(project, name):
    gates, words = CASES[name]
    model = apply_defect(name, TINY_MODEL, project.path / "model")
    path = project.write_playbook(local_path=model, test_matrix={"timeout_ms": 20_000})
    result = project.run(f"--playbook={path}", "-q", "--tb=short")
    assert result.ret == 1
    output = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in output
    assert "Traceback" not in output
    red = [e for e in project.evidence() if e["outcome"] not in ("Corroborated", "Skipped")]
    assert gates <= {e["gate_id"] for e in red}, sorted({e["gate_id"] for e in red})
    assert all("\n" not in e["reason"] for e in red)
    assert any(words in e["reason"] for e in red if e["gate_id"] in gates)
    assert project.score()["raw_score"] == 0


def test_formats_of_an_unsound_source_are_blocked_not_blamed(project):
    model = apply_defect("weights-truncated", TINY_MODEL, project.path / "model")
    path = project.write_playbook(local_path=model, model={"formats": ["safetensors", "gguf"]})
    project.run(f"--playbook={path}", "-q")
    gguf = [e for e in project.evidence() if e["scenario"]["format"] == "gguf"]
    assert gguf
    assert {e["outcome"] for e in gguf} == {"Skipped"}
    assert all("source is not sound" in e["reason"] for e in gguf)


def test_sharded_source_is_found_loaded_and_converted(project):
    from pytest_aprqa.formats.opening import open_tensor_file
    from pytest_aprqa.formats.safetensors_file import write_safetensors

    model = project.path / "sharded"
    model.mkdir()
    for file in TINY_MODEL.iterdir():
        if file.suffix in (".json", ".jinja"):
            (model / file.name).write_bytes(file.read_bytes())
    with open_tensor_file(TINY_MODEL / "model.safetensors") as source:
        names = list(source.entries)
        shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for shard, members in shards.items():
            tensors = {n: (source.entries[n].dtype, source.entries[n].shape, source.raw(n)) for n in members}
            write_safetensors(model / shard, tensors)
        total = sum(entry.nbytes for entry in source.entries.values())
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    path = project.write_playbook(local_path=model, model={"formats": ["safetensors", "apr"]})
    result = project.run(f"--playbook={path}", "-q", "-k", "file_is_sound or accepted or values or bijection")
    assert result.ret == 0, result.stdout.str()
    origins = {e["artifact"]["format"]: e["artifact"]["origin"] for e in project.evidence() if e["artifact"]}
    assert origins == {"safetensors": "published", "apr": "derived"}
