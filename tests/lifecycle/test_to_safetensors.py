"""Any artifact becomes a SafeTensors folder that is the same model, by its own declarations."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from pytest_aprqa.lifecycle.conversion_paths import convert, convert_once
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.to_safetensors import write_safetensors_from
from pytest_aprqa.models.artifact import open_artifact

TEXTS = ("Hello", "What is 2+2?", "<|im_start|>user\n12<|im_end|>\n", "Grüße 🙂")


def assert_same_model(source, copy):
    with open_artifact(source) as a, open_artifact(copy) as b:
        assert set(b.tensors.names()) == set(a.tensors.names())
        for name in a.tensors.names():
            np.testing.assert_array_equal(b.tensors.read(name), a.tensors.read(name), err_msg=name)
        mine, theirs = dataclasses.asdict(b.config), dataclasses.asdict(a.config)
        for field in ("rms_norm_eps", "rope_theta"):
            assert mine.pop(field) == pytest.approx(theirs.pop(field), rel=1e-6)
        assert mine == theirs
        for text in TEXTS:
            assert b.tokenizer.encode(text) == a.tokenizer.encode(text)
        assert b.tokenizer.end_ids == a.tokenizer.end_ids
        assert b.tokenizer.chat_template == a.tokenizer.chat_template


@pytest.mark.parametrize("steps", [["gguf"], ["apr"], ["apr", "gguf"], ["gguf", "apr", "gguf"]], ids="-".join)
def test_there_and_back_is_the_source(random_qwen2_folder, steps, tmp_path):
    copy = convert(random_qwen2_folder, [*steps, "safetensors"], tmp_path)
    assert_same_model(random_qwen2_folder, copy)


def test_llama_rows_come_back_in_hugging_face_order(random_llama_folder, tmp_path):
    assert_same_model(random_llama_folder, convert(random_llama_folder, ["gguf", "safetensors"], tmp_path))


def test_a_begin_token_that_the_file_adds_is_added_by_the_folder(random_llama_folder, tmp_path):
    path = convert(random_llama_folder, ["gguf"], tmp_path)
    with open_artifact(path) as artifact:
        declared = dataclasses.replace(artifact.tokenizer, add_bos=True, bos_id=artifact.tokenizer.eos_id)
        artifact.__dict__["tokenizer"] = declared
        folder = write_safetensors_from(artifact, tmp_path / "folder")
    with open_artifact(folder) as again:
        assert again.tokenizer.add_bos
        assert again.tokenizer.encode("Hello") == declared.encode("Hello")


def test_quantised_values_come_back_as_float32_without_loss(random_qwen2_folder, tmp_path):
    path = derive(random_qwen2_folder, "gguf", cache=tmp_path / "cache", dtype="q8_0").path
    folder = convert_once(path, "safetensors", tmp_path / "folder")
    with open_artifact(path) as a, open_artifact(folder) as b:
        types = {a.tensors.entry(n).dtype for n in a.tensors.names()}
        assert "Q8_0" in types
        for name in a.tensors.names():
            np.testing.assert_array_equal(b.tensors.read(name), a.tensors.read(name))
            assert b.tensors.entry(name).dtype in ("F32", a.tensors.entry(name).dtype)


def test_a_rotation_that_config_json_cannot_declare_is_refused(random_qwen2_folder, tmp_path):
    path = convert(random_qwen2_folder, ["apr"], tmp_path)
    with open_artifact(path) as artifact:
        artifact.__dict__["config"] = dataclasses.replace(artifact.config, rope_style="interleaved")
        with pytest.raises(LifecycleError, match=r"rope_type: config\.json cannot declare this rotation"):
            write_safetensors_from(artifact, tmp_path / "folder")


def test_a_head_that_is_no_copy_is_kept_even_if_it_is_declared_tied(random_llama_folder, tmp_path):
    """A contradiction of the file stays one: it is for the checks to name."""
    folder = tmp_path / "source"
    shutil.copytree(random_llama_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    with open_artifact(folder) as artifact:
        copy = write_safetensors_from(artifact, tmp_path / "copy")
    with open_artifact(copy) as again:
        assert "lm_head.weight" in again.tensors.names()


def test_progress_says_each_tensor(random_qwen2_folder, tmp_path):
    seen = []
    with open_artifact(random_qwen2_folder) as artifact:
        write_safetensors_from(artifact, tmp_path / "copy", progress=lambda *event: seen.append(event))
    assert seen[-1][1] <= seen[-1][2]
    assert len(seen) >= len(artifact.tensors.names())
