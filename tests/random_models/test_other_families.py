"""Random models of families that our converters do not write: sound for our readers, and the same model as GGUF."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_aprqa.defects.tensor_operations import add_to
from pytest_aprqa.falsify.clean import other_family
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.families import expected_tensors, integrity_problems, layout_problems
from pytest_aprqa.random_models import random_model_folder, random_shape
from pytest_aprqa.random_models.as_gguf import random_model_gguf
from pytest_aprqa.random_models.shape import FAMILIES, OTHER_FAMILIES
from pytest_aprqa.suite.other_declarations import other_declarations
from pytest_aprqa.suite.same_model import compare_models

ALL = FAMILIES + OTHER_FAMILIES


@pytest.mark.parametrize("family", OTHER_FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_readers_find_a_sound_model(family: str, seed: int, tmp_path: Path) -> None:
    with open_artifact(random_model_folder(tmp_path / "m", seed, family=family)) as artifact:
        shapes = {name: artifact.tensors.entry(name).shape for name in artifact.tensors.names()}
        assert artifact.config.architecture == family
        assert shapes == expected_tensors(artifact.config)
        assert not layout_problems(artifact.config, shapes)
        assert not integrity_problems(artifact.config, shapes)


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("seed", [1, 2])
def test_its_gguf_is_the_same_model(family: str, seed: int, tmp_path: Path) -> None:
    """Gemma's norms in float32 are rounded by the one that GGUF adds; no format but config.json names an activation."""
    folder = random_model_folder(tmp_path / "m", seed, family=family, dtype="F32")
    path = random_model_gguf(folder, tmp_path / "m.gguf")
    with open_artifact(folder) as source, open_artifact(path) as target:
        assert [str(one) for one in compare_models(source, target).differences] == []
        assert [name for name, row in other_declarations(source, target).items() if not row[2]] == []


@pytest.mark.parametrize("dtype", ["q8_0", "q4_k", "q6_k"])
def test_a_quantised_gemma_is_the_same_model(dtype: str, tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", 5, family="gemma", hidden=256, intermediate=512, heads=4, kv_heads=2)
    path = random_model_gguf(folder, tmp_path / "m.gguf", dtype)
    with open_artifact(folder) as source, open_artifact(path) as target:
        assert target.tensors.entry("model.layers.0.mlp.down_proj.weight").dtype == dtype.upper()
        assert [str(one) for one in compare_models(source, target).differences] == []


@pytest.mark.parametrize("added", [-1.0, 1e-3])
def test_a_norm_without_its_one_or_a_little_off_is_another_model(added: float, tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", 2, family="gemma", dtype="F32", layers=1)
    path = random_model_gguf(folder, tmp_path / "m.gguf")
    broken = tmp_path / "broken.gguf"
    shutil.copyfile(path, broken)
    add_to("model.norm.weight", added)(broken)
    with open_artifact(folder) as source, open_artifact(broken) as target:
        (only,) = compare_models(source, target).differences
    assert only.where == "model.norm.weight"
    assert "shifted by about" in only.cause


def test_shapes_that_a_family_does_not_have_are_refused() -> None:
    assert random_shape(4, family="falcon").kv_heads == 1
    with pytest.raises(ValueError, match="kv_heads: found 2, limit 1 of falcon"):
        random_shape(4, family="falcon", heads=4, kv_heads=2, head_dim=8, hidden=32)
    with pytest.raises(ValueError, match="hidden: found 33, limit heads x head_dim of phi3"):
        random_shape(4, family="phi3", hidden=33)


def test_every_fifth_clean_model_is_of_another_family_and_all_have_their_turn() -> None:
    assert {other_family(seed) for seed in range(25)} == {None, *OTHER_FAMILIES}
    assert sum(other_family(seed) is not None for seed in range(200)) == 40
