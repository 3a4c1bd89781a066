"""Small random models of the families that GGUF cuts and stacks: weights after our template, a bundled tokenizer."""

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

SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "hidden_act": "silu", "attention_bias": False,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
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
    kept = {key: drawn[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if key in drawn}
    (folder / "config.json").write_text(json.dumps(FAMILIES[family] | kept | changed), encoding="utf-8")
    random = np.random.default_rng(3)
    tensors = {}
    for name, shape in expected_tensors(config_from_hf(folder)).items():
        values = random.normal(0, 0.1, shape).astype(np.float32) + (1 if len(shape) == 1 else 0)
        stored = values if dtype == "F32" else to_bfloat16(values)
        tensors[name] = (dtype, shape, stored.tobytes())
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return folder
