"""Each gate of integrity, layout and data quality is seen to fail, on damaged copies of the bundled model."""

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

EMBEDDING = "model.embed_tokens.weight"
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def damaged(project):
    """Run structure and weight checks on a copy whose tensors and config.json were changed; what is red, by gate."""

    def run(change=lambda tensors: None, **config):
        folder = project.path / "model"
        shutil.copytree(TINY_MODEL, folder)
        with open_tensor_file(TINY_MODEL) as file:
            tensors = {name: file.read(name) for name in file.entries}
        change(tensors)
        stored = {n: ("BF16", v.shape, codecs.encode("BF16", v)) for n, v in tensors.items()}
        write_safetensors(folder / "model.safetensors", stored)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        playbook = project.write_playbook(local_path=folder, model={"quantizations": ["bf16"]})
        result = project.run(f"--playbook={playbook}", "--depth=weights", "--tb=no", "-q")
        assert result.ret == 1
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_the_configuration_of_another_model_trips_each_rule_of_integrity(damaged):
    failures = damaged(num_hidden_layers=14, hidden_size=4096, vocab_size=896, num_attention_heads=8)
    assert "config says 14 layers but tensors have 4" in failures["G0-INTEGRITY-LAYERS"]
    assert "config says hidden_size=4096 but embedding has 256" in failures["G0-INTEGRITY-HIDDEN"]
    assert "config says vocab_size=896 but embedding has 816" in failures["G0-INTEGRITY-VOCAB"]
    assert "config says 8 heads" in failures["G0-INTEGRITY-HEADS"]
    assert "G0-INTEGRITY-CONFIG" in failures


def test_each_rule_of_the_layout_contract_fails_on_its_own_tensor(damaged):
    def change(tensors):
        tensors[UP] = tensors[UP].T.copy()
        tensors["lm_head.weight"] = tensors[EMBEDDING].T.copy()
        tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].copy()

    failures = damaged(change)
    assert f"{UP} shape mismatch" in failures["F-LAYOUT-CONTRACT-001"]
    assert "lm_head.weight shape MISMATCH" in failures["F-LAYOUT-CONTRACT-002"]
    assert "model.norm.weight shape mismatch" in failures["F-LAYOUT-CONTRACT-003"]
    assert "3" in failures["G0-LAYOUT-001"] or "F-LAYOUT-CONTRACT" in failures["G0-LAYOUT-001"]


def test_each_rule_of_data_quality_fails_on_its_own_values(damaged):
    def change(tensors):
        rows = tensors[EMBEDDING].shape[0]
        tensors[EMBEDDING][rows // 2 : rows // 2 + rows // 4 + 1] = 0  # more than a quarter, the middle one among them
        down = tensors["model.layers.0.mlp.down_proj.weight"]
        down.reshape(-1)[: int(down.size * 0.81)] = 0
        tensors[UP][:] = np.float32(0.25)

    failures = damaged(change)
    assert "mlp.down_proj.weight: 81.0% zeros" in failures["F-DATA-QUALITY-001"]
    assert f"{UP}: all values 0.25" in failures["F-DATA-QUALITY-003"]
    assert "row 408: L2 norm 0" in failures["F-DATA-QUALITY-004"]
    assert "25.1% of the rows are dead" in failures["F-DATA-QUALITY-005"]


def test_zeros_and_dead_rows_within_the_limits_are_no_finding(project):
    folder = project.path / "model"
    shutil.copytree(TINY_MODEL, folder)
    with open_tensor_file(TINY_MODEL) as file:
        tensors = {name: file.read(name) for name in file.entries}
    tensors[EMBEDDING][:203] = 0  # 24.9 % of 816 rows; rows at 10 % are then dead: they lie in this part
    down = tensors["model.layers.0.mlp.down_proj.weight"]
    down.reshape(-1)[: int(down.size * 0.79)] = 0
    stored = {n: ("BF16", v.shape, codecs.encode("BF16", v)) for n, v in tensors.items()}
    write_safetensors(folder / "model.safetensors", stored)
    playbook = project.write_playbook(local_path=folder, model={"quantizations": ["bf16"]})
    project.run(f"--playbook={playbook}", "--depth=weights", "--tb=no", "-q")
    assert {e["gate_id"] for e in red(project.evidence()).values()} == {"F-DATA-QUALITY-004"}


def test_what_the_source_has_too_is_not_the_fault_of_the_conversion(project):
    """A derived file of a source with dead rows: only the source is red."""
    folder = project.path / "model"
    shutil.copytree(TINY_MODEL, folder)
    with open_tensor_file(TINY_MODEL) as file:
        tensors = {name: file.read(name) for name in file.entries}
    tensors[EMBEDDING][400:700] = 0
    stored = {n: ("BF16", v.shape, codecs.encode("BF16", v)) for n, v in tensors.items()}
    write_safetensors(folder / "model.safetensors", stored)
    formats = {"formats": ["safetensors", "gguf"], "quantizations": ["bf16"]}
    playbook = project.write_playbook(local_path=folder, model=formats)
    project.run(f"--playbook={playbook}", "--depth=weights", "--tb=no", "-q")
    assert {e["scenario"]["format"] for e in red(project.evidence()).values()} == {"safetensors"}
