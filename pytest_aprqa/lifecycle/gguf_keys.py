"""The keys of each family in a GGUF file that are other or more than a Llama's, as llama.cpp's converter has them."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.lifecycle.gguf_rules import Rules, experts_used
from pytest_aprqa.lifecycle.source import Source
from pytest_aprqa.models.latent_attention import LatentAttention

Keys = dict[str, tuple[Any, str]]
# Tensors that stay F32 in every file, as llama.cpp's converter has them: its code reads them so.
PLAIN_TENSORS = ("ffn_gate_inp", "position_embd")
_GRANITE = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}
_SOFT_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}  # of Gemma 2's configuration code
_LOCAL_THETA = 10000.0  # of Gemma 3's layers with a window
_PARALLEL = ("gpt_neox", "stablelm")


def family_keys(source: Source, rules: Rules) -> Keys:
    """Key without the architecture -> (value, value type); the value None where the family has no such key."""
    config, document, family = source.config, source.config_json, source.config.architecture
    keys: Keys = {}
    if rules.layer_norm:
        keys["attention.layer_norm_rms_epsilon"] = (None, "float32")
        keys["attention.layer_norm_epsilon"] = (config.rms_norm_eps, "float32")
    if rules.rotated == 0:
        keys["rope.freq_base"] = keys["rope.dimension_count"] = (None, "float32")
    elif config.latent is None:
        keys["rope.dimension_count"] = (int(config.head_dim * _rotated(source, rules)), "uint32")
    if family in _PARALLEL:
        parallel = document.get("use_parallel_residual", family == "gpt_neox")
        keys["use_parallel_residual"] = (bool(parallel), "bool")
    if family == "granite":
        keys |= {stored: (float(document.get(field) or 1.0), "float32") for field, stored in _GRANITE.items()}
    if family == "olmo" and document.get("clip_qkv"):
        keys["attention.clamp_kqv"] = (float(document["clip_qkv"]), "float32")
    if family == "falcon":
        keys["tensor_data_layout"] = ("jploski", "string")  # rows of queries, keys, values one after the other
    if family == "gemma2":
        keys |= {field: (float(document.get(field, usual)), "float32") for field, usual in _SOFT_CAPS.items()}
    if rules.windows and config.sliding_window is not None:
        keys["attention.sliding_window"] = (config.sliding_window, "uint32")
    if family == "gemma3_text":
        keys |= _local_layers(source)
    if config.num_experts:
        keys |= _experts(source)
    return keys | (_latent(source, config.latent) if config.latent else {})


def _rotated(source: Source, rules: Rules) -> float:
    """Share of a head that rotates: `partial_rotary_factor`, rotary_pct in older GPT-NeoX files."""
    for document in (source.config_json.get("rope_parameters"), source.config_json):
        for field in ("partial_rotary_factor", "rotary_pct"):
            value = document.get(field) if isinstance(document, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
                return float(value)
    return rules.rotated


def _local_layers(source: Source) -> Keys:
    """Which of Gemma 3's layers have a window, and their rotary base."""
    document, layers = source.config_json, source.config.num_layers
    kinds = document.get("layer_types")
    pattern = document.get("sliding_window_pattern") or 6
    local = (
        [kind == "sliding_attention" for kind in kinds] if kinds else [bool((n + 1) % pattern) for n in range(layers)]
    )
    theta = document.get("rope_local_base_freq")
    parameters = document.get("rope_parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get("sliding_attention"), dict):
        theta = parameters["sliding_attention"].get("rope_theta", theta)
    keys: Keys = {
        "attention.sliding_window_pattern": (local, "array[bool]"),
        "rope.freq_base_swa": (float(theta or _LOCAL_THETA), "float32"),
    }
    if document.get("final_logit_softcapping"):
        keys["final_logit_softcapping"] = (float(document["final_logit_softcapping"]), "float32")
    return keys


def _experts(source: Source) -> Keys:
    config = source.config
    keys: Keys = {
        "expert_count": (config.num_experts, "uint32"),
        "expert_used_count": (experts_used(source), "uint32"),
    }
    if config.architecture != "mixtral":  # its experts have the size of a whole layer
        keys["expert_feed_forward_length"] = (config.expert_size, "uint32")
    return keys


def _latent(source: Source, latent: LatentAttention) -> Keys:
    config, document = source.config, source.config_json
    keys: Keys = {
        "attention.head_count_kv": (1, "uint32"),  # all heads share the latent vector
        "attention.key_length": (latent.rank + latent.rotated, "uint32"),
        "attention.value_length": (latent.rank, "uint32"),
        "attention.key_length_mla": (latent.key, "uint32"),
        "attention.value_length_mla": (latent.value, "uint32"),
        "attention.kv_lora_rank": (latent.rank, "uint32"),
        "attention.q_lora_rank": (latent.query_rank, "uint32"),
        "rope.dimension_count": (latent.rotated, "uint32"),
        "leading_dense_block_count": (config.dense_layers if config.num_experts else config.num_layers, "uint32"),
        "expert_shared_count": (config.shared_experts, "uint32"),
        "expert_feed_forward_length": (config.expert_size or config.intermediate_size, "uint32"),
    }
    if config.num_experts:
        keys["expert_weights_scale"] = (float(document.get("routed_scaling_factor") or 1.0), "float32")
        keys["expert_gating_func"] = (1, "uint32")  # softmax
    return keys
