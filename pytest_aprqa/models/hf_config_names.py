"""Older families' names of the fields of config.json, and what their flags mean, under today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALIASES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("n_inner", "ffn_hidden_size", "ff_intermediate_size"),
    "max_position_embeddings": ("n_positions", "n_ctx"),
    "rms_norm_eps": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    "hidden_act": ("activation_function", "activation"),
    "attention_bias": ("use_qkv_bias",),
    "mlp_bias": (),
    "rope_theta": ("rope_embedding_base", "rotary_emb_base"),
}
# One flag for all biases of a family.
_BIAS_FLAGS = {"falcon": "bias", "starcoder2": "use_bias", "internlm2": "bias"}


def hf_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a decoded config.json in which every field that is known by another name has today's."""
    values = dict(document)
    for name, aliases in _ALIASES.items():
        if values.get(name) is None:
            found = next((document[alias] for alias in aliases if document.get(alias) is not None), None)
            if found is not None:
                values[name] = found
    family = document.get("model_type")
    if family == "gpt_bigcode" and document.get("multi_query", True) is True:
        values["num_key_value_heads"] = 1
    if family in ("gpt2", "gpt_neox"):  # every head has its own key and value
        values["num_key_value_heads"] = None
    if family == "falcon" and document.get("new_decoder_architecture") is not True:
        values["num_key_value_heads"] = 1 if document.get("multi_query", True) is True else None
    flag = _BIAS_FLAGS.get(family) if isinstance(family, str) else None
    if flag is not None and values.get("attention_bias") is None and document.get(flag) is not None:
        values["attention_bias"] = document[flag]
    return values
