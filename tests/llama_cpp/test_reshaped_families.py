"""A derived file of every family in real llama.cpp: its numbers are those of the public model code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.formats.joined_tensors import split_values
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.permutation import unpermute_rows
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.lifecycle.derive import derive
from tests.lifecycle.reshaped_families import FAMILIES, family_folder

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
IDS = list(range(5, 69))
LIMIT_S = 120.0
WITHOUT_CLASS = ("internlm2", "deepseek")  # their public model code is not part of transformers


def _by_llama_cpp(folder: Path, cache: Path, dtype: str = "f32") -> np.ndarray:
    with EngineHost("llama?backend=cpu", threads=2) as host:
        host.load(derive(folder, "gguf", cache=cache, dtype=dtype), LIMIT_S)
        return np.asarray(host.logits(IDS, LIMIT_S))


def _assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Mean divergence in nats; the cache of keys and values is 16-bit in llama.cpp."""
    p, q = (_log_softmax(one) for one in (expected, found))
    assert float((np.exp(p) * (p - q)).sum(axis=1).mean()) < 1e-4
    assert float(p.std()) > 0.1, "all tokens are alike: nothing was compared"


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


CASES: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES if family not in WITHOUT_CLASS),
    ("deepseek_v2", {"q_lora_rank": None}),
    ("deepseek_v2", {"first_k_dense_replace": 0}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("llama", {"mlp_bias": True, "attention_bias": True}),
    ("granite", {"attention_bias": True, "mlp_bias": True}),
    ("nemotron", {"attention_bias": True, "mlp_bias": True}),
    ("qwen3_moe", {"num_experts_per_tok": 1}),
]


@pytest.mark.parametrize(("family", "changed"), CASES)
def test_the_logits_are_those_of_transformers(family: str, changed: dict[str, Any], tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = family_folder(tmp_path / "m", family, **changed)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    _assert_close(_by_llama_cpp(folder, tmp_path / "cache"), expected)


def test_deepseek_gives_the_logits_of_the_llama_with_its_weights(tmp_path: Path) -> None:
    """The dense models of the family are Llamas by another name, which GGUF does not know."""
    mine, theirs = (family_folder(tmp_path / family, family) for family in ("deepseek", "llama"))
    _assert_close(_by_llama_cpp(mine, tmp_path / "cache"), _by_llama_cpp(theirs, tmp_path / "cache"))


@pytest.mark.parametrize("dtype", ["q8_0", "f16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_loads_every_family_in_other_types(family: str, dtype: str, tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", family, "BF16")
    plain, made = (_by_llama_cpp(folder, tmp_path / "cache", one) for one in ("f32", dtype))
    p, q = _log_softmax(plain), _log_softmax(made)
    assert float((np.exp(p) * (p - q)).sum(axis=1).mean()) < (0.1 if dtype == "q8_0" else 1e-3)


def test_internlm2_gives_the_logits_of_the_llama_with_its_weights(tmp_path: Path) -> None:
    """Its code is Llama's but for the fused rows of q, k and v; transformers has none of its own."""
    folder = family_folder(tmp_path / "m", "internlm2")
    other = family_folder(tmp_path / "l", "internlm2")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"model_type": "llama"}), encoding="utf-8")
    _write_as_llama(folder, other, config)
    mine, theirs = (_by_llama_cpp(one, tmp_path / "cache") for one in (folder, other))
    _assert_close(mine, theirs)


def _write_as_llama(folder: Path, target: Path, config: dict[str, Any]) -> None:
    names = {
        "model.tok_embeddings": "model.embed_tokens", "output.weight": "lm_head.weight",
        "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
    }  # fmt: skip
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    tensors = {}
    with open_tensor_file(folder) as file:
        for name in file.entries:
            values = file.read(name)
            if ".wqkv." in name:
                split = split_values(values, heads, kv_heads, config["hidden_size"] // heads, latent=False)
                parts = {"q": unpermute_rows(split[0], heads), "k": unpermute_rows(split[1], kv_heads), "v": split[2]}
                for role, part in parts.items():
                    tensors[name.replace("attention.wqkv", f"self_attn.{role}_proj")] = part
                continue
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            tensors[name] = values
    rows = {name: ("F32", values.shape, np.ascontiguousarray(values).tobytes()) for name, values in tensors.items()}
    write_safetensors(target / "model.safetensors", rows, {"format": "pt"})
