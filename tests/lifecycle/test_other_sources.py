"""Sources that are quantised or packed already, in several files, or with odd names: exact, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.random_models import random_model_folder

PATHS = [["safetensors"], ["apr"], ["gguf"], ["apr", "gguf", "safetensors"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source") / "m"
    return random_model_folder(
        place, 3, family="llama", dtype="BF16", tied=False, hidden=256, intermediate=256, shards=2, layers=1
    )


@pytest.mark.parametrize("path", PATHS, ids="-".join)
@pytest.mark.parametrize(
    ("format_name", "dtype"), [("gguf", "q8_0"), ("gguf", "q4_k"), ("gguf", "q5_1"), ("apr", "q8"), ("apr", "q4")]
)
def test_a_quantised_file_keeps_its_values_on_every_way(
    folder: Path, format_name: str, dtype: str, path: list[str], tmp_path: Path
) -> None:
    stored = derive(folder, format_name, cache=tmp_path / "cache", dtype=dtype).path
    made = convert(stored, path, tmp_path / "work")
    with open_artifact(stored) as before, open_artifact(made) as after:
        assert set(before.tensors.names()) == set(after.tensors.names())
        kinds = {before.tensors.entry(name).dtype for name in before.tensors.names()}
        assert kinds - {"F32", "BF16"}, "nothing was quantised"
        for name in before.tensors.names():
            assert np.array_equal(before.tensors.read(name), after.tensors.read(name)), name
        assert before.tokenizer.chat_template == after.tokenizer.chat_template


def with_tensor(folder: Path, target: Path, name: str, dtype: str, values: np.ndarray[Any, Any]) -> Path:
    """The model of FOLDER with one tensor more, in one file."""
    target.mkdir()
    for path in folder.iterdir():
        if "safetensors" not in path.name:
            (target / path.name).write_bytes(path.read_bytes())
    with open_tensor_file(folder) as file:
        tensors = {one: (entry.dtype, entry.shape, bytes(file.raw(one))) for one, entry in file.entries.items()}
    tensors[name] = (dtype, values.shape, values.tobytes())
    write_safetensors(target / "model.safetensors", tensors, {"format": "pt"})
    return target


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("model.layers.0.self_attn.q_proj.qweight", "I32", np.int32),  # GPTQ, AWQ
        ("model.layers.0.mlp.extra_proj.weight", "I8", np.int8),  # bitsandbytes
        ("model.layers.0.mlp.down_proj_blocks", "U8", np.uint8),  # MXFP4
    ],
)
def test_packed_weights_are_refused_and_not_left_out(
    folder: Path, name: str, dtype: str, kind: Any, format_name: str, tmp_path: Path
) -> None:
    source = with_tensor(folder, tmp_path / "m", name, dtype, np.arange(64, dtype=kind).reshape(2, 32))
    with pytest.raises(LifecycleError, match=rf"{name}: .*(?:found {dtype}|has no name)"):
        derive(source, format_name, cache=tmp_path / "cache")


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
def test_positions_of_older_checkpoints_are_left_out(folder: Path, format_name: str, tmp_path: Path) -> None:
    source = with_tensor(folder, tmp_path / "m", "model.embeddings.position_ids", "I64", np.arange(8))
    with open_artifact(derive(source, format_name, cache=tmp_path / "cache").path) as made:
        assert "model.embeddings.position_ids" not in set(made.tensors.names())


@pytest.mark.parametrize("name", ["model.layers.0.é x.weight", "λ🙂.bias", "lm_head.weight ", "x" * 200])
def test_odd_names_are_kept_by_apr_and_refused_by_gguf(folder: Path, name: str, tmp_path: Path) -> None:
    source = with_tensor(folder, tmp_path / "m", name, "F32", np.arange(4, dtype=np.float32))
    with open_artifact(derive(source, "apr", cache=tmp_path / "cache").path) as made:
        assert made.tensors.read(name).tolist() == [0, 1, 2, 3]
    with pytest.raises(LifecycleError, match="GGUF has no name for this tensor"):
        derive(source, "gguf", cache=tmp_path / "cache")


def test_a_bias_that_llama_cpp_does_not_read_is_refused(folder: Path, tmp_path: Path) -> None:
    rows = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    source = with_tensor(folder, tmp_path / "m", "lm_head.bias", "F32", np.zeros(rows, np.float32))
    with pytest.raises(LifecycleError, match="no place for this tensor"):
        derive(source, "gguf", cache=tmp_path / "cache")
