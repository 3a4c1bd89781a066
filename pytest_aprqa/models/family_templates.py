"""Tensor template of each family: every tensor of a model with its row-major shape, as its checkpoint files name them.

Facts of the public model code; the test builds each family with transformers and compares names and shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_aprqa.formats.name_tables import FAMILY_OF
from pytest_aprqa.models.config import ModelConfig
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.latent_attention import LatentAttention

Shape = tuple[int, ...]
Tensors = dict[str, Shape]
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Template:
    """How the layers of a family differ. `norms` of a layer; `mlp`: gated, fused, (in, out) names, or experts."""

    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norm_bias: bool = False
    last_norm: str | None = "model.norm"
    query_norm: str | None = None
    whole_query_norm: bool = False
    output: str = "o_proj"
    fused_qkv: bool = False
    mlp: str | tuple[str, str] = "gated"
    biases: bool = False
    head_bias: bool = False
    experts: tuple[str, str, tuple[str, str, str]] | None = None


_FOUR_NORMS = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
)  # fmt: skip
_MIXTRAL = ("block_sparse_moe.gate", "block_sparse_moe.experts", ("w1", "w3", "w2"))
_QWEN_EXPERTS = ("mlp.gate", "mlp.experts", ("gate_proj", "up_proj", "down_proj"))
_LLAMA = Template()
_TEMPLATES: dict[str, Template] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "granite", "gemma", "smollm3", "deepseek"), _LLAMA),
    "qwen3": Template(query_norm="norm"),
    "qwen3_moe": Template(query_norm="norm", experts=_QWEN_EXPERTS),
    "mixtral": Template(experts=_MIXTRAL),
    "gemma2": Template(norms=_FOUR_NORMS),
    "gemma3_text": Template(norms=_FOUR_NORMS, query_norm="norm"),
    "olmo": Template(norms=(), last_norm=None),
    "olmo2": Template(norms=_FOUR_NORMS[1::2], query_norm="norm", whole_query_norm=True),
    "nemotron": Template(norm_bias=True, mlp=("up_proj", "down_proj")),
    "stablelm": Template(norm_bias=True),
    "starcoder2": Template(norm_bias=True, mlp=("c_fc", "c_proj"), biases=True),
    "phi": Template(
        norms=("input_layernorm",), norm_bias=True, last_norm="model.final_layernorm", output="dense",
        mlp=("fc1", "fc2"), biases=True, head_bias=True,
    ),
    "phi3": Template(fused_qkv=True, mlp="fused"),
}  # fmt: skip


def template_tensors(config: ModelConfig) -> Tensors:
    """Name -> shape of every tensor; the head is left out when it is tied. ModelError: family without a template."""
    family = family_of(config)
    if family in _OTHER:
        return _OTHER[family](config)
    template = _TEMPLATES.get(family)
    if template is None:
        raise ModelError("family", "architecture", "is not known", found=config.architecture, limit=", ".join(KNOWN))
    hidden = config.hidden_size
    expected: Tensors = {EMBEDDING: (config.vocab_size, hidden)}
    if template.last_norm:
        expected |= _norm(template.last_norm, hidden, template.norm_bias)
    if not config.tied_embeddings:
        expected |= _linear("lm_head", config.vocab_size, hidden, template.head_bias)
    for layer in range(config.num_layers):
        p = f"model.layers.{layer}."
        for name in template.norms:
            expected |= _norm(p + name, hidden, template.norm_bias)
        expected |= _attention(p + "self_attn.", config, template) | _mlp(p, config, template)
    return expected


def family_of(config: ModelConfig) -> str:
    """model_type whose template holds: GGUF files name the architecture that runs a family."""
    family = FAMILY_OF.get(config.architecture, config.architecture)
    return "mixtral" if family == "llama" and config.num_experts else family


def _attention(p: str, config: ModelConfig, template: Template) -> Tensors:
    hidden, rows, keys = config.hidden_size, config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    bias = config.attention_bias or template.biases
    tensors = _linear(p + template.output, hidden, rows, config.output_bias or template.biases)
    if template.fused_qkv:
        tensors |= _linear(p + "qkv_proj", rows + 2 * keys, hidden, bias)
    else:
        for name, size in (("q_proj", rows), ("k_proj", keys), ("v_proj", keys)):
            tensors |= _linear(p + name, size, hidden, bias)
    if template.query_norm:
        whole = template.whole_query_norm
        for name, size in (("q", rows), ("k", keys)):
            tensors[f"{p}{name}_{template.query_norm}.weight"] = (size if whole else config.head_dim,)
    return tensors


def _mlp(p: str, config: ModelConfig, template: Template) -> Tensors:
    hidden, inner = config.hidden_size, config.intermediate_size
    bias = config.mlp_bias or template.biases
    if template.experts:
        gate, experts, (left, right, down) = template.experts
        size = config.expert_size or inner
        tensors: Tensors = {f"{p}{gate}.weight": (config.num_experts, hidden)}
        for number in range(config.num_experts):
            one = f"{p}{experts}.{number}."
            tensors |= {f"{one}{name}.weight": (size, hidden) for name in (left, right)}
            tensors[f"{one}{down}.weight"] = (hidden, size)
        return tensors
    if template.mlp == "fused":
        return _linear(p + "mlp.gate_up_proj", 2 * inner, hidden) | _linear(p + "mlp.down_proj", hidden, inner)
    names = ("up_proj", "down_proj") if isinstance(template.mlp, str) else template.mlp
    tensors = _linear(f"{p}mlp.{names[0]}", inner, hidden, bias) | _linear(f"{p}mlp.{names[1]}", hidden, inner, bias)
    return tensors | (_linear(p + "mlp.gate_proj", inner, hidden, bias) if template.mlp == "gated" else {})


def _gpt2(config: ModelConfig) -> Tensors:
    """Conv1D stores [in, out]; GPT-BigCode's linear layers [out, in], with one key-value head for all queries."""
    hidden, inner = config.hidden_size, config.intermediate_size
    conv = family_of(config) == "gpt2"
    fused = hidden + 2 * config.num_kv_heads * config.head_dim
    expected: Tensors = {
        "transformer.wte.weight": (config.vocab_size, hidden),
        "transformer.wpe.weight": (config.max_position_embeddings, hidden),
        **_norm("transformer.ln_f", hidden, True),
    }
    if not config.tied_embeddings:
        expected[HEAD] = (config.vocab_size, hidden)
    for layer in range(config.num_layers):
        p = f"transformer.h.{layer}."
        expected |= _norm(p + "ln_1", hidden, True) | _norm(p + "ln_2", hidden, True)
        matrices = (("attn.c_attn", fused, hidden), ("attn.c_proj", hidden, hidden))
        for name, rows, columns in (*matrices, ("mlp.c_fc", inner, hidden), ("mlp.c_proj", hidden, inner)):
            expected[f"{p}{name}.weight"] = (columns, rows) if conv else (rows, columns)
            expected[f"{p}{name}.bias"] = (rows,)
    return expected


def _gpt_neox(config: ModelConfig) -> Tensors:
    """Rows of query_key_value by head: its query, key and value."""
    hidden, inner = config.hidden_size, config.intermediate_size
    expected: Tensors = {"gpt_neox.embed_in.weight": (config.vocab_size, hidden)}
    expected |= _norm("gpt_neox.final_layer_norm", hidden, True)
    if not config.tied_embeddings:
        expected["embed_out.weight"] = (config.vocab_size, hidden)
    for layer in range(config.num_layers):
        p = f"gpt_neox.layers.{layer}."
        expected |= _norm(p + "input_layernorm", hidden, True) | _norm(p + "post_attention_layernorm", hidden, True)
        expected |= _linear(p + "attention.query_key_value", 3 * hidden, hidden, config.attention_bias)
        expected |= _linear(p + "attention.dense", hidden, hidden, config.attention_bias)
        expected |= _linear(p + "mlp.dense_h_to_4h", inner, hidden, True)
        expected |= _linear(p + "mlp.dense_4h_to_h", hidden, inner, True)
    return expected


def _falcon(config: ModelConfig) -> Tensors:
    """One key-value head: one norm a layer; several: two norms side by side."""
    hidden, inner = config.hidden_size, config.intermediate_size
    if config.num_kv_heads == config.num_heads > 1:
        problem = "a Falcon with as many key-value heads as heads has no template"
        raise ModelError("family", "num_kv_heads", problem, found=config.num_kv_heads, limit="fewer than heads")
    rows = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    expected: Tensors = {"transformer.word_embeddings.weight": (config.vocab_size, hidden)}
    expected |= _norm("transformer.ln_f", hidden, True)
    if not config.tied_embeddings:
        expected[HEAD] = (config.vocab_size, hidden)
    norms = ("input_layernorm",) if config.num_kv_heads == 1 else ("ln_attn", "ln_mlp")
    bias = config.attention_bias
    for layer in range(config.num_layers):
        p = f"transformer.h.{layer}."
        for name in norms:
            expected |= _norm(p + name, hidden, True)
        expected |= _linear(p + "self_attention.query_key_value", rows, hidden, bias)
        expected |= _linear(p + "self_attention.dense", hidden, hidden, bias)
        expected |= _linear(p + "mlp.dense_h_to_4h", inner, hidden, bias)
        expected |= _linear(p + "mlp.dense_4h_to_h", hidden, inner, bias)
    return expected


def _internlm2(config: ModelConfig) -> Tensors:
    """Rows of wqkv by key-value head: its query heads, then the key, then the value."""
    hidden, inner = config.hidden_size, config.intermediate_size
    rows = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    expected: Tensors = {"model.tok_embeddings.weight": (config.vocab_size, hidden)} | _norm(
        "model.norm", hidden, False
    )
    if not config.tied_embeddings:
        expected["output.weight"] = (config.vocab_size, hidden)
    for layer in range(config.num_layers):
        p = f"model.layers.{layer}."
        expected |= _norm(p + "attention_norm", hidden, False) | _norm(p + "ffn_norm", hidden, False)
        expected |= _linear(p + "attention.wqkv", rows, hidden, config.attention_bias)
        expected |= _linear(p + "attention.wo", hidden, config.num_heads * config.head_dim, config.output_bias)
        expected |= _linear(p + "feed_forward.w1", inner, hidden) | _linear(p + "feed_forward.w3", inner, hidden)
        expected |= _linear(p + "feed_forward.w2", hidden, inner)
    return expected


def _phi3small(config: ModelConfig) -> Tensors:
    """Rows of query_key_value by key-value head, as InternLM2's; of up_proj, gate and linear alternate."""
    hidden, inner = config.hidden_size, config.intermediate_size
    rows = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    expected: Tensors = {EMBEDDING: (config.vocab_size, hidden)} | _norm("model.final_layernorm", hidden, True)
    if not config.tied_embeddings:
        expected[HEAD] = (config.vocab_size, hidden)
    for layer in range(config.num_layers):
        p = f"model.layers.{layer}."
        expected |= _norm(p + "input_layernorm", hidden, True) | _norm(p + "post_attention_layernorm", hidden, True)
        expected |= _linear(p + "self_attn.query_key_value", rows, hidden, True)
        expected |= _linear(p + "self_attn.dense", hidden, config.num_heads * config.head_dim, True)
        expected |= _linear(p + "mlp.up_proj", 2 * inner, hidden, True)
        expected |= _linear(p + "mlp.down_proj", hidden, inner, True)
    return expected


def _deepseek_v2(config: ModelConfig) -> Tensors:
    """Latent attention; the first layers have one large feed-forward part, the others experts and shared experts."""
    hidden, latent = config.hidden_size, config.latent
    if latent is None:
        raise ModelError("family", "kv_lora_rank", "is missing", advice="the file is incomplete: convert it again")
    expected: Tensors = {EMBEDDING: (config.vocab_size, hidden)} | _norm("model.norm", hidden, False)
    if not config.tied_embeddings:
        expected[HEAD] = (config.vocab_size, hidden)
    dense = Template()
    sparse = Template(experts=_QWEN_EXPERTS)
    for layer in range(config.num_layers):
        p = f"model.layers.{layer}."
        expected |= _norm(p + "input_layernorm", hidden, False) | _norm(p + "post_attention_layernorm", hidden, False)
        expected |= _latent_attention(p + "self_attn.", config, latent)
        if layer < config.dense_layers or not config.num_experts:
            expected |= _mlp(p, config, dense)
            continue
        expected |= _mlp(p, config, sparse)
        shared = config.shared_experts * config.expert_size
        for name, rows, columns in (("gate", shared, hidden), ("up", shared, hidden), ("down", hidden, shared)):
            if shared:
                expected |= _linear(f"{p}mlp.shared_experts.{name}_proj", rows, columns)
    return expected


def _latent_attention(p: str, config: ModelConfig, latent: LatentAttention) -> Tensors:
    hidden, heads, bias = config.hidden_size, config.num_heads, config.attention_bias
    if latent.query_rank:
        tensors = _linear(p + "q_a_proj", latent.query_rank, hidden, bias)
        tensors |= _norm(p + "q_a_layernorm", latent.query_rank, False)
        tensors |= _linear(p + "q_b_proj", heads * latent.key, latent.query_rank)
    else:
        tensors = _linear(p + "q_proj", heads * latent.key, hidden)
    tensors |= _linear(p + "kv_a_proj_with_mqa", latent.rank + latent.rotated, hidden, bias)
    tensors |= _norm(p + "kv_a_layernorm", latent.rank, False)
    tensors |= _linear(p + "kv_b_proj", heads * (latent.plain + latent.value), latent.rank)
    return tensors | _linear(p + "o_proj", hidden, heads * latent.value, bias)


def _norm(name: str, size: int, bias: bool) -> Tensors:
    return {f"{name}.{part}": (size,) for part in (("weight", "bias") if bias else ("weight",))}


def _linear(name: str, rows: int, columns: int, bias: bool = False) -> Tensors:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


_OTHER: dict[str, Callable[[ModelConfig], Tensors]] = {
    "gpt2": _gpt2, "gpt_bigcode": _gpt2, "falcon": _falcon, "internlm2": _internlm2, "phi3small": _phi3small,
    "deepseek_v2": _deepseek_v2, "gpt_neox": _gpt_neox,
}  # fmt: skip
#: model_types with a template
KNOWN = (*_TEMPLATES, *_OTHER)
