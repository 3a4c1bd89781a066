"""Rows of the name mapping: for each family, the modules of Hugging Face and what GGUF calls them.

Facts of the public model code and of ggml's tensor names; keyed by Hugging Face `model_type`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NameTable:
    """`globals`: module outside layers -> GGUF. `layers`: module inside a layer -> GGUF module. `prefix` of layers.

    `experts`: module of one expert -> GGUF module of all experts, stacked; `experts_at`: where experts are counted.
    """

    globals: dict[str, str]
    layers: dict[str, str]
    prefix: str = "model.layers"
    experts: dict[str, str] | None = None
    experts_at: str = "mlp.experts"


_GLOBAL: Final = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_ATTENTION: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
}
_GATED: Final = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_EXPERTS: Final = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}
_MIXTRAL: Final = {"w1": "ffn_gate_exps", "w3": "ffn_up_exps", "w2": "ffn_down_exps"}
_FOUR_NORMS: Final = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_GPT2: Final = NameTable(
    {
        "transformer.wte": "token_embd",
        "transformer.wpe": "position_embd",
        "transformer.ln_f": "output_norm",
        "lm_head": "output",
    },
    {
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    },
    "transformer.h",
)
_GPT_NEOX: Final = NameTable(
    {"gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm", "embed_out": "output"},
    {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "attention.query_key_value": "attn_qkv",
        "attention.dense": "attn_output",
        "mlp.dense_h_to_4h": "ffn_up",
        "mlp.dense_4h_to_h": "ffn_down",
    },
    "gpt_neox.layers",
)
_FALCON_GLOBAL: Final = {
    "transformer.word_embeddings": "token_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}
_FALCON: Final = {
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
#: Families whose layers are those of Llama, with or without biases and norms of q and k.
PLAIN: Final = NameTable(
    _GLOBAL,
    _ATTENTION | _GATED | {"block_sparse_moe.gate": "ffn_gate_inp"},
    experts=_MIXTRAL,
    experts_at="block_sparse_moe.experts",
)
TABLES: Final[dict[str, NameTable]] = {
    "gemma2": NameTable(_GLOBAL, _ATTENTION | _GATED | _FOUR_NORMS),
    "gemma3_text": NameTable(_GLOBAL, _ATTENTION | _GATED | _FOUR_NORMS),
    "olmo2": NameTable(
        _GLOBAL, {k: v for k, v in (_ATTENTION | _GATED | _FOUR_NORMS).items() if v not in ("attn_norm", "ffn_norm")}
    ),
    "phi": NameTable(
        {"model.embed_tokens": "token_embd", "model.final_layernorm": "output_norm", "lm_head": "output"},
        {k: v for k, v in _ATTENTION.items() if v not in ("attn_output", "ffn_norm")}
        | {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"},
    ),
    "phi3": NameTable(_GLOBAL, _ATTENTION | {"mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}),
    "starcoder2": NameTable(_GLOBAL, _ATTENTION | {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}),
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "falcon": NameTable(_FALCON_GLOBAL, _FALCON | {"input_layernorm": "attn_norm"}, "transformer.h"),
    # Two norms side by side (new_decoder_architecture of the larger models).
    "falcon_two_norms": NameTable(
        _FALCON_GLOBAL, _FALCON | {"ln_mlp": "attn_norm", "ln_attn": "attn_norm_2"}, "transformer.h"
    ),
    "qwen3_moe": NameTable(_GLOBAL, _ATTENTION | _GATED | {"mlp.gate": "ffn_gate_inp"}, experts=_EXPERTS),
    "qwen2_moe": NameTable(
        _GLOBAL,
        _ATTENTION
        | _GATED
        | {
            "mlp.gate": "ffn_gate_inp",
            "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
            "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
            "mlp.shared_expert.up_proj": "ffn_up_shexp",
            "mlp.shared_expert.down_proj": "ffn_down_shexp",
        },
        experts=_EXPERTS,
    ),
    "stablelm": NameTable(
        _GLOBAL,
        {k: v for k, v in (_ATTENTION | _GATED).items() if v not in ("attn_q_norm", "attn_k_norm")}
        | {"self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm"},
    ),
    # Its fused wqkv is three tensors in GGUF and has no row here: see joined_tensors.
    "internlm2": NameTable(
        {"model.tok_embeddings": "token_embd", "model.norm": "output_norm", "output": "output"},
        {
            "attention_norm": "attn_norm",
            "ffn_norm": "ffn_norm",
            "attention.wo": "attn_output",
            "feed_forward.w1": "ffn_gate",
            "feed_forward.w3": "ffn_up",
            "feed_forward.w2": "ffn_down",
        },
    ),
}
# Newer files store kv_b_proj in two parts: see joined_tensors.
_LATENT: Final = {
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
}
_SHARED_EXPERTS: Final = {
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
TABLES["deepseek_v2"] = NameTable(
    _GLOBAL,
    {k: v for k, v in _ATTENTION.items() if v not in ("attn_k", "attn_v", "attn_q_norm", "attn_k_norm", "attn_qkv")}
    | _LATENT
    | _GATED
    | _SHARED_EXPERTS
    | {"mlp.gate": "ffn_gate_inp"},
    experts=_EXPERTS,
)
#: `general.architecture` of GGUF -> model_type of Hugging Face, where the two differ.
FAMILY_OF: Final = {
    "phi2": "phi",
    "starcoder": "gpt_bigcode",
    "gptneox": "gpt_neox",
    "gemma3": "gemma3_text",
    "qwen3moe": "qwen3_moe",
    "qwen2moe": "qwen2_moe",
    "deepseek2": "deepseek_v2",
}
#: model_type of Hugging Face -> `general.architecture`, for families that ggml's code runs under another name.
ARCHITECTURE_OF: Final = {family: architecture for architecture, family in FAMILY_OF.items()} | {
    "mistral": "llama",
    "mixtral": "llama",
    "deepseek": "llama",
    "falcon_two_norms": "falcon",
}


def table_of(architecture: str) -> NameTable:
    """The rows of a model_type or `general.architecture`; those of Llama for names that are not known."""
    return TABLES.get(FAMILY_OF.get(architecture, architecture), PLAIN)
