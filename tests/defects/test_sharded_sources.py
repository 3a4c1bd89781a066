"""Defects of models in several shards: the shard that holds the tensor is changed, the index stays consistent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import change_values, layer_count, stored_name, weight_file
from pytest_aprqa.formats.opening import open_tensor_file
from tests.defects.artifact_differences import differences, digest_tree
from tests.model_fixtures import write_plain_safetensors

INDEX = "model.safetensors.index.json"
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def sharded(random_qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "model"
    shutil.copytree(random_qwen2_folder, folder)
    with open_tensor_file(folder) as file:
        tensors = {name: file.read(name) for name in file.entries}
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:9], names[9:18], names[18:]), start=1):
        shard = f"model-{number:05}-of-00003.safetensors"
        write_plain_safetensors(folder / shard, {name: tensors[name] for name in part}, "BF16")
        weight_map |= dict.fromkeys(part, shard)
    total = sum(2 * array.size for array in tensors.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return folder


def test_value_defect_changes_one_shard_only(sharded: Path, tmp_path: Path) -> None:
    broken = apply_defect("nan-in-tensor", sharded, tmp_path / "m")
    before, after = digest_tree(sharded), digest_tree(broken)
    shard = weight_file(sharded, DOWN).name
    assert {name for name in before if before[name] != after[name]} == {shard}


def test_dropped_tensor_leaves_the_index_too(sharded: Path, tmp_path: Path) -> None:
    broken = apply_defect("tensor-missing", sharded, tmp_path / "m")
    weight_map = json.loads((broken / INDEX).read_text())["weight_map"]
    assert "model.norm.weight" not in weight_map
    assert differences(sharded, broken) == {"removed": {"model.norm.weight"}, "files": {INDEX}}


def test_added_tensor_is_in_the_index(sharded: Path, tmp_path: Path) -> None:
    broken = apply_defect("tensor-extra", sharded, tmp_path / "m")
    name = "model.layers.0.mlp.down_proj.lora_A.weight"
    assert json.loads((broken / INDEX).read_text())["weight_map"][name] == weight_file(sharded, DOWN).name
    assert differences(sharded, broken)["added"] == {name}


def test_missing_shard_is_missing(sharded: Path, tmp_path: Path) -> None:
    broken = apply_defect("shard-missing", sharded, tmp_path / "m")
    assert len(list(broken.glob("*.safetensors"))) == 2
    with pytest.raises(ValueError, match="model-00001-of-00003"), open_tensor_file(broken):
        pass


def test_layers_are_counted_over_all_shards(sharded: Path) -> None:
    assert layer_count(sharded) == 3


def test_unknown_tensor_is_not_applicable(sharded: Path) -> None:
    with pytest.raises(DefectNotApplicableError, match="no such tensor"):
        stored_name(sharded, "model.layers.9.mlp.down_proj.weight")


def test_change_values_keeps_type_and_neighbours(sharded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m"
    shutil.copytree(sharded, copy)
    change_values(copy, DOWN, lambda values: values + 1)
    assert differences(sharded, copy) == {"tensors": {DOWN}}
    with open_tensor_file(sharded) as one, open_tensor_file(copy) as other:
        assert other.entries[DOWN] == one.entries[DOWN]
        np.testing.assert_allclose(other.read(DOWN), one.read(DOWN) + 1, rtol=0.01, atol=0.01)
