"""Small random models of every family that GGUF knows: weights after our template, a bundled tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pytest_aprqa.formats.codecs import to_bfloat16
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.families import expected_tensors
from pytest_aprqa.random_models import random_model_folder

DROPPED = object()  # the value of a field that is left out
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "hidden_act": "silu", "attention_bias": False,
}  # fmt: skip
LLAMA = SIZES | {"num_key_value_heads": 2, "head_dim": 16}
NO_HEAD_DIM = {name: value for name, value in LLAMA.items() if name != "head_dim"}
GEMMA = LLAMA | {
    "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
}  # fmt: skip
LAYER_NORM = NO_HEAD_DIM | {"norm_eps": 1e-5, "layer_norm_eps": 1e-5, "norm_epsilon": 1e-5, "layer_norm_epsilon": 1e-5}
SHORT: dict[str, Any] = {
    "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_ctx": 128, "n_inner": 96,
    "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
FALCON: dict[str, Any] = {
    "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "bias": False,
    "alibi": False, "parallel_attn": True, "multi_query": True, "activation": "gelu", "layer_norm_epsilon": 1e-5,
    "ffn_hidden_size": 96, "tie_word_embeddings": True, "max_position_embeddings": 128, "rope_theta": 10000.0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA | {"model_type": "llama"},
    "mistral": LLAMA | {"model_type": "mistral", "sliding_window": None},
    "qwen2": NO_HEAD_DIM | {"model_type": "qwen2", "attention_bias": True},
    "qwen3": LLAMA | {"model_type": "qwen3"},
    "qwen3_moe": LLAMA | EXPERTS | {"model_type": "qwen3_moe", "num_experts": 4, "norm_topk_prob": True},
    "mixtral": LLAMA | EXPERTS | {"model_type": "mixtral", "num_local_experts": 4, "sliding_window": None},
    "deepseek": NO_HEAD_DIM | {"model_type": "deepseek"},
    "granite": NO_HEAD_DIM | {
        "model_type": "granite", "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0,
        "attention_multiplier": 0.125, "tie_word_embeddings": True,
    },
    "smollm3": NO_HEAD_DIM | {"model_type": "smollm3", "num_hidden_layers": 5, "no_rope_layers": [1, 1, 1, 0, 1]},
    "gemma": GEMMA | {"model_type": "gemma"},
    "gemma2": GEMMA | {
        "model_type": "gemma2", "query_pre_attn_scalar": 32, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "sliding_window": 16,
    },
    "gemma3_text": GEMMA | {
        "model_type": "gemma3_text", "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 7,
        "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
    },
    "nemotron": LAYER_NORM | {"model_type": "nemotron", "hidden_act": "relu2", "partial_rotary_factor": 0.5},
    "phi": LAYER_NORM | {
        "model_type": "phi", "num_key_value_heads": 4, "hidden_act": "gelu_new", "partial_rotary_factor": 0.5,
        "attention_bias": True,
    },
    "phi3": NO_HEAD_DIM | {
        "model_type": "phi3", "sliding_window": None, "original_max_position_embeddings": 128, "pad_token_id": 0,
    },
    "falcon": FALCON,
    "starcoder2": LAYER_NORM | {
        "model_type": "starcoder2", "hidden_act": "gelu_pytorch_tanh", "use_bias": True, "attention_bias": True,
        "sliding_window": None, "tie_word_embeddings": True,
    },
    "gpt_bigcode": SHORT | {"model_type": "gpt_bigcode", "activation_function": "gelu_pytorch_tanh"},
    "gpt2": SHORT | {"model_type": "gpt2", "activation_function": "gelu_new"},
    "gpt_neox": LAYER_NORM | {
        "model_type": "gpt_neox", "num_key_value_heads": 4, "hidden_act": "gelu", "rotary_pct": 0.25,
        "use_parallel_residual": True, "attention_bias": True,
    },
    "stablelm": LAYER_NORM | {"model_type": "stablelm", "partial_rotary_factor": 0.25, "use_qkv_bias": True,
                              "attention_bias": DROPPED},
    "olmo": NO_HEAD_DIM | {"model_type": "olmo", "clip_qkv": 2.0, "rms_norm_eps": DROPPED},
    "olmo2": NO_HEAD_DIM | {"model_type": "olmo2"},
    "internlm2": SIZES | {"model_type": "internlm2", "num_key_value_heads": 2, "bias": False},
    "deepseek_v2": SIZES | {
        "model_type": "deepseek_v2", "num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": 16,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 4, "n_shared_experts": 2,
        "moe_intermediate_size": 32, "first_k_dense_replace": 1, "num_experts_per_tok": 2, "norm_topk_prob": False,
        "routed_scaling_factor": 1.5, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
        "architectures": ["DeepseekV2ForCausalLM"],
    },
}  # fmt: skip


def family_folder(folder: Path, family: str, dtype: str = "F32", **changed: Any) -> Path:
    """Write the model of `family`, with fields of config.json changed."""
    random_model_folder(folder, 1, hidden=64)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    drawn = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    drawn |= {"pad_token_id": 0} if family == "smollm3" else {}  # the usual one of its class is beyond the vocabulary
    kept = {key: drawn[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if key in drawn}
    values = {name: value for name, value in (FAMILIES[family] | kept | changed).items() if value is not DROPPED}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    random = np.random.default_rng(3)
    tensors = {}
    for name, shape in expected_tensors(config_from_hf(folder)).items():
        values = random.normal(0, 0.1, shape).astype(np.float32)
        values += 1 if len(shape) == 1 and not name.endswith(".bias") else 0
        stored = values if dtype == "F32" else to_bfloat16(values)
        tensors[name] = (dtype, shape, stored.tobytes())
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return folder
