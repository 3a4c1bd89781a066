"""What is publicly known of each model family: attention, norm, activation, positions, biases, ties, and sizes.

A built-in copy of the table of playbook.md 9.4, so that nothing depends on another project's checkout.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_aprqa.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Family:
    """Constraints of one family. `positions` are the usual largest contexts in tokens, smaller variants first."""

    name: str
    attention: str
    norm: str
    activation: str
    mlp: str
    position: str
    positions: tuple[int, ...]
    bias: bool
    tied: bool
    fused_qkv: bool = False
    qk_norm: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of one published size of a family."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    vocab_size: int


def _llama_like(name: str, *positions: int, attention: str = "gqa", tied: bool = False) -> Family:
    return Family(name, attention, "rms", "silu", "swiglu", "rope", positions, bias=False, tied=tied)


_KNOWN = (
    Family("qwen2", "gqa", "rms", "silu", "swiglu", "rope", (32768, 131072), bias=True, tied=False),
    Family("qwen3", "gqa", "rms", "silu", "swiglu", "rope", (40960,), bias=False, tied=False, qk_norm=True),
    _llama_like("qwen3_moe", 262144),
    _llama_like("llama", 131072),
    _llama_like("nemotron", 131072),
    _llama_like("mistral", 32768),
    Family("gemma", "gqa", "rms", "gelu", "gated_mlp", "rope", (8192,), bias=False, tied=True),
    Family("phi", "mha", "layer", "gelu", "standard", "rope", (2048, 4096), bias=True, tied=False),
    _llama_like("deepseek", 4096),
    Family("falcon", "gqa", "layer", "gelu", "gelu_mlp", "rope", (2048, 8192), bias=True, tied=False, fused_qkv=True),
    Family("starcoder2", "gqa", "layer", "gelu", "gelu_mlp", "rope", (16384,), bias=True, tied=False),
    Family("gpt_bigcode", "mqa", "layer", "gelu", "gelu_mlp", "absolute", (), bias=True, tied=True),
    _llama_like("stablelm", 4096, attention="mha"),
    _llama_like("granite", 131072, tied=True),
    Family("internlm2", "gqa", "rms", "silu", "swiglu", "rope", (32768,), bias=False, tied=False, fused_qkv=True),
    _llama_like("olmo", 2048, 4096, attention="mha"),
)
FAMILY_TABLE: dict[str, Family] = {family.name: family for family in _KNOWN}
SIZES: dict[str, dict[str, Size]] = {
    "qwen2": {
        "0.5b": Size(896, 24, 14, 2, 4864, 151936),
        "1.5b": Size(1536, 28, 12, 2, 8960, 151936),
        "3b": Size(2048, 36, 16, 2, 11008, 151936),
        "7b": Size(3584, 28, 28, 4, 18944, 152064),
        "14b": Size(5120, 48, 40, 8, 13824, 152064),
        "32b": Size(5120, 64, 40, 8, 27648, 152064),
    }
}


def size_of(config: ModelConfig) -> str | None:
    """Name of the published size that `config` declares, None for a model of its own dimensions."""
    declared = Size(**{name: getattr(config, name) for name in Size.__dataclass_fields__})
    sizes = SIZES.get(config.architecture, {})
    return next((name for name, size in sizes.items() if size == declared), None)
