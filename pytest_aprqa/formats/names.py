"""Tensor names: the one mapping between Hugging Face names and GGUF names, and what differs by architecture.

Both directions come from the same rows, so that the mapping is a bijection; unknown names give None.
"""

from __future__ import annotations

import re
from typing import Final

_GLOBAL: Final = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
#: module inside a layer, Hugging Face -> GGUF; ".weight" or ".bias" follows
_LAYER: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
#: architectures whose layers differ: replacements of rows above
_GEMMA: Final = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_BY_ARCHITECTURE: Final[dict[str, dict[str, str]]] = {
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "phi3": {"mlp.gate_up_proj": "ffn_up"},
}
_DROPPED: Final[dict[str, tuple[str, ...]]] = {"phi3": ("mlp.up_proj", "mlp.gate_proj")}
_HF_LAYER: Final = re.compile(r"model\.layers\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)")
_GGUF_LAYER: Final = re.compile(r"blk\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)")


def _layer_table(architecture: str) -> dict[str, str]:
    dropped = _DROPPED.get(architecture, ())
    table = {hf: gguf for hf, gguf in _LAYER.items() if hf not in dropped}
    return table | _BY_ARCHITECTURE.get(architecture, {})


def gguf_name(hf_name: str, architecture: str) -> str | None:
    """GGUF name of a Hugging Face tensor, or None when the table has no row for it."""
    if hf_name in _GLOBAL:
        return _GLOBAL[hf_name]
    match = _HF_LAYER.fullmatch(hf_name)
    module = _layer_table(architecture).get(match[2]) if match else None
    return f"blk.{match[1]}.{module}.{match[3]}" if match and module else None


def hf_name(gguf_name: str, architecture: str) -> str | None:
    """Hugging Face name of a GGUF tensor, or None when the table has no row for it."""
    for ours, theirs in _GLOBAL.items():
        if theirs == gguf_name:
            return ours
    match = _GGUF_LAYER.fullmatch(gguf_name)
    if not match:
        return None
    modules = {theirs: ours for ours, theirs in _layer_table(architecture).items()}
    module = modules.get(match[2])
    return f"model.layers.{match[1]}.{module}.{match[3]}" if module else None
