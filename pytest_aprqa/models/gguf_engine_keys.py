"""Keys of a GGUF file as llama.cpp asks for them: of one value type, and some without which it loads nothing.

Facts of its public loader (`llama_model_base::load_hparams`, `llama_vocab::impl::load`, `GGUFMeta::GKV::get_kv`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ARRAYS: Final = ("array[int32]", "array[uint32]")
_COUNT, _NUMBER, _FLAG, _TEXT = ("uint32",), ("float32",), ("bool",), ("string",)
#: key without the architecture -> value types that the loader takes; any other ends the loading.
MODEL_KEYS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        (
            "context_length", "embedding_length", "block_count", "vocab_size", "rope.dimension_count", "expert_count",
            "expert_shared_count", "leading_dense_block_count", "attention.key_length", "attention.value_length",
            "attention.kv_lora_rank", "attention.q_lora_rank", "rope.scaling.original_context_length",
            "attention.sliding_window", "expert_gating_func",
        ),
        _COUNT,
    ),
    **dict.fromkeys(
        (
            "feed_forward_length", "attention.head_count", "attention.head_count_kv", "expert_used_count",
            "expert_feed_forward_length",
        ),
        (*_COUNT, *ARRAYS),
    ),
    **dict.fromkeys(
        (
            "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "rope.freq_base",
            "rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor", "attn_logit_softcapping",
            "final_logit_softcapping", "logit_scale", "residual_scale", "embedding_scale", "attention.scale",
            "expert_weights_scale",
        ),
        _NUMBER,
    ),
    "rope.scaling.type": _TEXT,
    "attention.causal": _FLAG,
    "expert_weights_norm": _FLAG,
}  # fmt: skip
#: whole key -> value types
OTHER_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "general.file_type": _COUNT,
    "tokenizer.ggml.model": _TEXT,
    "tokenizer.ggml.pre": _TEXT,
    "tokenizer.chat_template": _TEXT,
    **{f"tokenizer.ggml.{name}_token_id": _COUNT for name in ("bos", "eos", "eot", "eom", "unknown", "padding")},
    **{
        f"tokenizer.ggml.{name}": _FLAG
        for name in ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces")
    },
}
RMS, MEAN = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
#: architectures whose norms have a mean; those whose epsilon nothing is said of here; all others have RMS norms.
_LAYER_NORM: Final = ("falcon", "gpt2", "starcoder", "starcoder2", "stablelm", "olmo", "phi2", "nemotron", "command-r")
_RMS_NORM: Final = (
    "llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe", "gemma", "gemma2", "gemma3", "granite", "phi3", "olmo2",
    "deepseek2", "internlm2", "smollm3",
)  # fmt: skip
WRONG_TYPE = "the engine refuses a key of another value type"
MISSING = "the engine does not load a file without this key"


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """One key for which llama.cpp refuses the whole file."""

    key: str
    found: str
    limit: str
    cause: str

    def __str__(self) -> str:
        return f"{self.key} is {self.found}, the engine asks for {self.limit}"


def key_problems(metadata: Mapping[str, Any], types: Mapping[str, str]) -> Iterator[KeyProblem]:
    """Every key that ends the loading: of another value type, or missing. `types`: key -> type as the reader names it.

    Of architectures that are not known here, only types are judged.
    """
    architecture = metadata.get("general.architecture")
    wanted = {f"{architecture}.{key}": allowed for key, allowed in MODEL_KEYS.items()} | OTHER_KEYS
    for key, allowed in wanted.items():
        found = types.get(key)
        if found is not None and found not in allowed:
            yield KeyProblem(key, f"of type {found}", " or ".join(allowed), WRONG_TYPE)
    needed = ["tokenizer.ggml.model"]
    needed += [f"{architecture}.{RMS}"] if architecture in _RMS_NORM else []
    needed += [f"{architecture}.{MEAN}"] if architecture in _LAYER_NORM else []
    needed += [f"{architecture}.expert_used_count"] if metadata.get(f"{architecture}.expert_count") else []
    for key in needed:
        if key not in metadata:
            yield KeyProblem(key, "missing", " or ".join(wanted[key]), MISSING)
