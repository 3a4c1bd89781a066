"""The derived GGUF as the public `gguf` package reads it: keys, names, order of q and k rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def llama(random_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return gguf.GGUFReader(derive(random_llama_folder, "gguf", cache=tmp_path_factory.mktemp("cache")).path)


@pytest.fixture(scope="module")
def qwen2(random_qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return gguf.GGUFReader(derive(random_qwen2_folder, "gguf", cache=tmp_path_factory.mktemp("cache")).path)


def values(reader: Any) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


def tensor(reader: Any, name: str) -> np.ndarray:
    found = next(one for one in reader.tensors if one.name == name)
    return gguf.quants.dequantize(found.data, found.tensor_type)


def test_keys_of_the_architecture(llama: Any) -> None:
    found = values(llama)
    expected = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_BF16),
        "general.quantization_version": 2,
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.embedding_length": 96,
        "llama.feed_forward_length": 160,
        "llama.attention.head_count": 6,
        "llama.attention.head_count_kv": 3,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": 336,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.add_bos_token": True,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)


def test_tokenizer_is_complete(llama: Any, random_llama_folder: Path) -> None:
    found = values(llama)
    tokenizer = json.loads((random_llama_folder / "tokenizer.json").read_text())
    tokens = found["tokenizer.ggml.tokens"]
    assert all(tokens[token_id] == token for token, token_id in tokenizer["model"]["vocab"].items())
    control = [token for token, kind in zip(tokens, found["tokenizer.ggml.token_type"], strict=True) if kind == 3]
    assert control == [added["content"] for added in tokenizer["added_tokens"]]
    assert found["tokenizer.ggml.merges"] == [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    assert tokens[found["tokenizer.ggml.bos_token_id"]] == "<|begin_of_text|>"
    assert tokens[found["tokenizer.ggml.eos_token_id"]] == "<|end_of_text|>"
    assert tokens[found["tokenizer.ggml.eot_token_id"]] == "<|eot_id|>"
    assert "start_header_id" in found["tokenizer.chat_template"]


def test_qwen2_declares_its_own_pre_tokenizer_and_no_bos(qwen2: Any) -> None:
    found = values(qwen2)
    assert found["general.architecture"] == "qwen2"
    assert found["tokenizer.ggml.pre"] == "qwen2"
    assert found["tokenizer.ggml.add_bos_token"] is False


def test_llama_query_rows_are_interleaved_and_value_rows_are_not(llama: Any, random_llama_folder: Path) -> None:
    with open_tensor_file(random_llama_folder) as file:
        for role, heads in (("q", 6), ("k", 3)):
            source = file.read(f"model.layers.0.self_attn.{role}_proj.weight")
            stored = tensor(llama, f"blk.0.attn_{role}.weight")
            # The public converter's rule: rows (head, half, pair) become (head, pair, half).
            expected = source.reshape(heads, 2, 8, -1).swapaxes(1, 2).reshape(source.shape)
            np.testing.assert_array_equal(stored, expected)
        source = file.read("model.layers.0.self_attn.v_proj.weight")
        np.testing.assert_array_equal(tensor(llama, "blk.0.attn_v.weight"), source)


def test_qwen2_rows_keep_their_order(qwen2: Any, random_qwen2_folder: Path) -> None:
    with open_tensor_file(random_qwen2_folder) as file:
        for role in ("q", "k"):
            for part in ("weight", "bias"):
                source = file.read(f"model.layers.2.self_attn.{role}_proj.{part}")
                np.testing.assert_array_equal(tensor(qwen2, f"blk.2.attn_{role}.{part}"), source)


def test_tied_head_is_not_written_and_untied_is(qwen2: Any, llama: Any) -> None:
    assert "output.weight" not in {one.name for one in qwen2.tensors}
    assert "output.weight" in {one.name for one in llama.tensors}
