"""What the APR metadata of a derived file says, key by key, and that the container rules hold."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from tests.model_fixtures import write_random_llama

ALIASES = {"hidden_dim", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_seq_len", "n_vocab"}


@pytest.fixture(scope="module")
def qwen2(random_qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return derive(random_qwen2_folder, "apr", cache=tmp_path_factory.mktemp("cache")).path


@pytest.fixture(scope="module")
def llama(random_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return derive(random_llama_folder, "apr", cache=tmp_path_factory.mktemp("cache")).path


def raw_metadata(path: Path) -> dict[str, object]:
    data = path.read_bytes()
    return json.loads(data[64 : 64 + int.from_bytes(data[20:24], "little")])


def test_dimensions_have_their_canonical_names_only(llama: Path) -> None:
    metadata = raw_metadata(llama)
    expected = {
        "architecture": "llama",
        "hf_architecture": "LlamaForCausalLM",
        "hf_model_type": "llama",
        "hidden_size": 96,
        "num_layers": 2,
        "num_heads": 6,
        "num_kv_heads": 3,
        "head_dim": 16,
        "intermediate_size": 160,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "rope_type": 2,
        "license": None,
        "data_source": None,
        "data_license": None,
    }
    assert {key: metadata.get(key, "absent") for key in expected} == expected
    assert isinstance(metadata["hidden_size"], int)
    assert metadata["rms_norm_eps"] == pytest.approx(1e-5, rel=1e-6)
    assert not ALIASES & metadata.keys()


def test_hugging_face_rows_are_declared_as_halves_for_every_family(llama: Path, qwen2: Path) -> None:
    assert raw_metadata(llama)["rope_type"] == 2
    assert raw_metadata(qwen2)["rope_type"] == 2


def test_tied_head_is_a_real_copy_with_the_flag(qwen2: Path, llama: Path) -> None:
    assert raw_metadata(qwen2)["tied_embeddings"] is True
    assert "tied_embeddings" not in raw_metadata(llama)
    with open_tensor_file(qwen2) as file:
        head, embedding = file.entries["lm_head.weight"], file.entries["model.embed_tokens.weight"]
        assert (head.dtype, head.shape) == (embedding.dtype, embedding.shape)
        assert file.raw("lm_head.weight").tobytes() == file.raw("model.embed_tokens.weight").tobytes()


def test_tokenizer_is_complete(llama: Path, random_llama_folder: Path) -> None:
    metadata = raw_metadata(llama)
    tokenizer = json.loads((random_llama_folder / "tokenizer.json").read_text())
    vocabulary = metadata["tokenizer.vocabulary"]
    for token, token_id in tokenizer["model"]["vocab"].items():
        assert vocabulary[token_id] == token
    for added in tokenizer["added_tokens"]:
        assert vocabulary[added["id"]] == added["content"]
        assert metadata["tokenizer.token_type"][added["id"]] == 3
    assert metadata["tokenizer.merges"] == [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    assert metadata["tokenizer.pre_type"] == "gpt-2"
    assert metadata["tokenizer.add_bos_token"] is True
    assert vocabulary[metadata["tokenizer.bos_token_id"]] == "<|begin_of_text|>"
    assert vocabulary[metadata["tokenizer.eos_token_id"]] == "<|end_of_text|>"
    assert metadata["tokenizer.vocab_size"] == metadata["vocab_size"] == len(vocabulary)
    assert metadata["chat_template"] == metadata["tokenizer.chat_template"]
    assert "start_header_id" in metadata["chat_template"]


def test_counts_are_of_what_is_stored(qwen2: Path) -> None:
    metadata = raw_metadata(qwen2)
    with open_tensor_file(qwen2) as file:
        assert metadata["total_size"] == sum(entry.nbytes for entry in file.entries.values())
        elements = 0
        for name, entry in file.entries.items():
            size = 1
            for dim in entry.shape:
                size *= dim
            elements += size if name != "lm_head.weight" else 0
        assert metadata["param_count"] == elements


def test_header_flags_and_footer_follow_the_format(qwen2: Path) -> None:
    data = qwen2.read_bytes()
    assert int.from_bytes(data[6:8], "little") == 0x0400 | 0x0200
    assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")


@pytest.mark.parametrize(("dtype", "stored"), [("q8", "APR_Q8"), ("q4", "APR_Q4")])
def test_native_quantisation_holds_for_matrices_and_is_declared(
    random_llama_folder: Path, tmp_path: Path, dtype: str, stored: str
) -> None:
    artifact = derive(random_llama_folder, "apr", cache=tmp_path, dtype=dtype)
    with open_tensor_file(artifact.path) as file, open_tensor_file(random_llama_folder) as source:
        assert file.metadata["quantization"]["quant_type"] == dtype
        assert file.metadata["total_size"] == sum(entry.nbytes for entry in file.entries.values())
        for name, entry in file.entries.items():
            assert entry.dtype == (stored if len(entry.shape) == 2 else "F32"), name
            expected = codecs.encode(entry.dtype, source.read(name))
            assert file.raw(name).tobytes() == expected, name


@pytest.mark.parametrize("dtype", ["q4_k", "q6_k"])
def test_rows_that_are_no_whole_blocks_keep_the_type_of_the_source(
    random_llama_folder: Path, tmp_path: Path, dtype: str
) -> None:
    """The Llama shape is 96 and 160 wide: nothing can be a K-quant, and the file does not claim that anything is."""
    artifact = derive(random_llama_folder, "apr", cache=tmp_path, dtype=dtype)
    with open_tensor_file(artifact.path) as file:
        assert {entry.dtype for entry in file.entries.values()} == {"F32", "BF16"}
        assert "quantization" not in file.metadata


def test_values_that_a_scale_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_random_llama(tmp_path / "model", dtype="F32")
    with open_tensor_file(folder) as file:
        at = file.entries["model.layers.1.mlp.up_proj.weight"].offset
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[at : at + 4] = np.array([np.nan], "<f4").tobytes()
    weights.write_bytes(data)
    with pytest.raises(LifecycleError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: cannot be stored as APR_Q4"):
        derive(folder, "apr", cache=tmp_path / "cache", dtype="q4")


@pytest.mark.parametrize(("dtype", "stored", "limit"), [("q4_k", "Q4_K", 8e-3), ("q6_k", "Q6_K", 5e-4)])
def test_k_quants_hold_for_matrices_of_whole_blocks(tmp_path: Path, dtype: str, stored: str, limit: float) -> None:
    """256 wide, 256 x 320 in the middle: down_proj has rows of 320 and keeps the source's type."""
    changes = {"hidden_size": 256, "intermediate_size": 320, "num_attention_heads": 4, "num_key_value_heads": 2}
    folder = write_random_llama(tmp_path / "model", changes={**changes, "head_dim": 64, "num_hidden_layers": 1})
    artifact = derive(folder, "apr", cache=tmp_path / "cache", dtype=dtype)
    with open_tensor_file(artifact.path) as file, open_tensor_file(folder) as source:
        assert file.metadata["quantization"]["quant_type"] == dtype
        for name, entry in file.entries.items():
            expected = "F32" if len(entry.shape) == 1 else "BF16" if "down_proj" in name else stored
            assert entry.dtype == expected, name
            values = source.read(name).astype(np.float64)
            error = ((file.read(name) - values) ** 2).sum() / (values**2).sum()
            assert error <= (limit if expected == stored else 0), name


@pytest.mark.parametrize(("activation", "refused"), [("silu", False), ("gelu_pytorch_tanh", True)])
def test_what_apr_metadata_cannot_say_is_refused(random_llama_folder: Path, tmp_path: Path, activation, refused):
    """A file that declares another activation than its source would compute another model."""
    folder = tmp_path / "model"
    shutil.copytree(random_llama_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": activation}))
    if not refused:
        assert derive(folder, "apr", cache=tmp_path / "cache").path.is_file()
        return
    with pytest.raises(LifecycleError, match=r"hidden_act: cannot be declared in an APR file .found gelu_pytorch_tanh"):
        derive(folder, "apr", cache=tmp_path / "cache")
