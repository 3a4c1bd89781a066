"""What llama.cpp's code of each family computes: its activation, biases, head and rotation. Refusals of all else.

Facts of its public loaders and graphs (`llama_model_*`) and of its converter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.source import Source, refuse_window

ADVICE = "publish the converted file yourself and name it in the playbook"
#: model_type -> why llama.cpp cannot run it, whatever is written into a file
NOT_IN_LLAMA_CPP = {
    "phi3small": "llama.cpp has no architecture for it (block-sparse attention, gated GELU with limits)"
}
SILU = ("silu", "swish")
# ggml computes the tanh approximation for all of them; it differs from the exact function by less than 5e-4.
GELU = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_QKV = ("attn_q", "attn_k", "attn_v")
_ALL = (*_QKV, "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_NORMS = ("attn_norm", "attn_norm_2", "ffn_norm", "output_norm")
_BIAS = re.compile(r"(?:blk\.\d+\.)?(\w+)\.bias")


@dataclass(frozen=True, slots=True)
class Rules:
    """`biases`: GGUF modules whose bias is read; `needed`: a module whose bias must be there.

    `head`: "any" (tied or not), "own" (never tied) or "tied". `whole_heads`: heads fill the hidden size. `layer_norm`:
    norms with a mean, whose epsilon has a key of its own. `rotated`: usual share of a head that rotates, 0 for
    learned positions. `windows`: declared windows are computed.
    """

    activations: tuple[str, ...] = SILU
    biases: tuple[str, ...] = _QKV
    needed: str | None = None
    head: str = "any"
    whole_heads: bool = False
    layer_norm: bool = False
    rotated: float = 1.0
    windows: bool = False


_LLAMA = Rules(biases=_ALL)
_LEARNED = Rules(GELU, (*_ALL, *_NORMS), "attn_qkv", whole_heads=True, layer_norm=True, rotated=0.0)
_GEMMA = Rules(GELU, head="tied", windows=True)
RULES: dict[str, Rules] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "deepseek", "granite"), _LLAMA),
    **dict.fromkeys(("qwen2", "qwen3", "qwen3_moe", "smollm3"), Rules()),
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
    "gemma3_text": Rules(GELU, windows=True),
    "nemotron": Rules(("relu2",), (*_ALL, *_NORMS), None, "own", whole_heads=True, layer_norm=True, rotated=0.5),
    "phi": Rules(GELU, (*_ALL, *_NORMS, "output"), "output", "own", whole_heads=True, layer_norm=True, rotated=0.5),
    "phi3": Rules(whole_heads=True),
    "falcon": Rules(GELU, _NORMS, whole_heads=True, layer_norm=True),
    "starcoder2": Rules(GELU, (*_ALL, *_NORMS), "attn_output", whole_heads=True, layer_norm=True),
    "gpt_bigcode": _LEARNED,
    "gpt2": _LEARNED,
    "gpt_neox": Rules(
        GELU, (*_ALL, *_NORMS), "attn_qkv", "own", whole_heads=True, layer_norm=True, rotated=0.25
    ),
    "stablelm": Rules(SILU, (*_QKV, *_NORMS), None, "own", whole_heads=True, layer_norm=True, rotated=0.25),
    "internlm2": Rules(head="own", biases=(), whole_heads=True),
    "olmo": Rules(whole_heads=True, layer_norm=True),
    "olmo2": Rules(head="own", whole_heads=True),
    "deepseek_v2": Rules(biases=()),
}  # fmt: skip


def refuse_uncomputed(source: Source, stored_names: Iterable[str]) -> Rules:
    """The rules of the family of `source`, whose GGUF names are `stored_names`.

    LifecycleError: a declaration or tensor that llama.cpp's code of the family has no place for.
    """
    rules, config = RULES[source.config.architecture], source.config
    found = next((source.config_json[key] for key in _ACTIVATIONS if source.config_json.get(key)), None)
    if found is not None and found not in rules.activations:
        refuse(source, "hidden_act", "llama.cpp computes another activation for this family", found, rules.activations)
    if rules.head == "own" and config.tied_embeddings:
        refuse(source, "tie_word_embeddings", "llama.cpp reads a head of its own for this family", True, False)
    if rules.head == "tied" and not config.tied_embeddings:
        refuse(source, "tie_word_embeddings", "llama.cpp reads no head of its own for this family", False, True)
    if rules.whole_heads and config.num_heads * config.head_dim != config.hidden_size:
        refuse(source, "head_dim", "llama.cpp takes hidden size / heads", config.head_dim, config.hidden_size)
    _refuse_biases(source, rules, stored_names)
    if not rules.windows:
        refuse_window(source)
    check = _CHECKS.get(config.architecture)
    if check is not None:
        check(source)
    return rules


_ACTIVATIONS = ("hidden_activation", "hidden_act", "activation_function", "activation")


def refuse(source: Source, field: str, problem: str, found: Any, limit: Any) -> None:
    """Raise the LifecycleError for a field of config.json."""
    shown = " | ".join(limit) if isinstance(limit, tuple) else limit
    raise LifecycleError(source.folder / "config.json", field, problem, found=found, limit=shown, advice=ADVICE)


def _refuse_biases(source: Source, rules: Rules, stored_names: Iterable[str]) -> None:
    modules = {match[1] for name in stored_names if (match := _BIAS.fullmatch(name))}
    for module in sorted(modules - set(rules.biases)):
        problem = "llama.cpp has no place for this tensor"
        raise LifecycleError(source.weights.path, f"{module}.bias", problem, advice=ADVICE)
    if rules.needed is not None and rules.needed not in modules:
        problem = "llama.cpp reads biases for this family"
        raise LifecycleError(source.weights.path, f"{rules.needed}.bias", problem, advice=ADVICE)


def experts_used(source: Source) -> int:
    """Experts that a token takes. LifecycleError: not declared, or more than there are."""
    used = source.config_json.get("num_experts_per_tok")
    if isinstance(used, bool) or not isinstance(used, int) or not 1 <= used <= source.config.num_experts:
        refuse(source, "num_experts_per_tok", "is no number of experts", used, f"1 to {source.config.num_experts}")
    return int(source.config_json["num_experts_per_tok"])


def _deepseek_v2(source: Source) -> None:
    config, document = source.config, source.config_json
    if not config.num_experts:
        return
    if config.shared_experts == 0:
        refuse(source, "n_shared_experts", "llama.cpp reads shared experts for this family", 0, "at least 1")
    if document.get("topk_method", "greedy") != "greedy" and (document.get("n_group") or 1) > 1:
        refuse(source, "topk_method", "llama.cpp chooses experts of all groups", document["topk_method"], "greedy")
    if document.get("norm_topk_prob"):
        refuse(source, "norm_topk_prob", "the public model code of this family does not normalise", True, False)
    experts_used(source)


def _qwen3_moe(source: Source) -> None:
    document = source.config_json
    if document.get("norm_topk_prob") is not True:
        found = document.get("norm_topk_prob")
        refuse(source, "norm_topk_prob", "llama.cpp normalises the shares of the experts", found, True)
    if document.get("mlp_only_layers") or document.get("decoder_sparse_step", 1) != 1:
        found = document.get("mlp_only_layers") or document["decoder_sparse_step"]
        refuse(source, "mlp_only_layers", "llama.cpp reads experts in every layer", found, "none")


def _falcon(source: Source) -> None:
    document = source.config_json
    if document.get("alibi") is True:
        refuse(source, "alibi", "llama.cpp rotates for this family", True, False)
    if document.get("parallel_attn") is False and not document.get("new_decoder_architecture"):
        refuse(source, "parallel_attn", "llama.cpp computes both parts of a layer from one input", False, True)


def _gpt_bigcode(source: Source) -> None:
    if source.config.num_kv_heads != 1:
        refuse(source, "multi_query", "llama.cpp reads one key-value head for this family", False, True)


def _gpt2(source: Source) -> None:
    if source.config_json.get("scale_attn_by_inverse_layer_idx"):
        refuse(source, "scale_attn_by_inverse_layer_idx", "llama.cpp does not scale by layer", True, False)


def _gemma(source: Source) -> None:
    """Its scale of attention is that of the head, but for the largest model, known by its layers."""
    config, document = source.config, source.config_json
    scale = document.get("query_pre_attn_scalar", 256)
    largest = config.num_layers == (46 if config.architecture == "gemma2" else 62)
    wanted = config.hidden_size // config.num_heads if largest else config.head_dim
    if scale != wanted:
        refuse(source, "query_pre_attn_scalar", "llama.cpp scales attention by the size of a head", scale, wanted)
    if config.architecture == "gemma2":
        for field in ("attn_logit_softcapping", "final_logit_softcapping"):
            if field in document and not document[field]:
                refuse(source, field, "llama.cpp limits the logits of this family", document[field], "a number")


def _smollm3(source: Source) -> None:
    """Every fourth layer does not rotate."""
    layers = source.config.num_layers
    wanted = [int((layer + 1) % 4 != 0) for layer in range(layers)]
    found = source.config_json.get("no_rope_layers") or wanted
    if found != wanted or source.config_json.get("no_rope_layer_interval", 4) != 4:
        refuse(source, "no_rope_layers", "llama.cpp leaves every fourth layer without rotation", found, str(wanted))


_CHECKS = {
    "deepseek_v2": _deepseek_v2, "qwen3_moe": _qwen3_moe, "mixtral": experts_used, "falcon": _falcon,
    "gpt_bigcode": _gpt_bigcode, "gpt2": _gpt2, "gemma2": _gemma, "gemma3_text": _gemma, "smollm3": _smollm3,
}  # fmt: skip
