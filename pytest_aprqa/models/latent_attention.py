"""Latent attention (DeepSeek-V2): keys and values of all heads are made from one small vector of each token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# model_type of config.json -> what its public configuration code takes for a missing field.
HF_DEFAULTS: dict[str, dict[str, int]] = {
    "deepseek_v2": {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
}
DEFAULT_QUERY_RANK = 1536
FIELDS = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
Count = Callable[[str, int | None], int]


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Sizes: `rank` of the vector of keys and values, `query_rank` of that of queries (0: none), and parts of a head.

    A key has `plain` values that do not rotate and `rotated` ones, shared by all heads; a value has `value`.
    """

    rank: int
    query_rank: int
    plain: int
    rotated: int
    value: int

    @property
    def key(self) -> int:
        """Values of a query or key of one head."""
        return self.plain + self.rotated


def latent_from_hf(architecture: str, document: Mapping[str, Any], count: Count) -> LatentAttention | None:
    """What a config.json declares; None for other families. `count` reads a field or its default."""
    defaults = HF_DEFAULTS.get(architecture)
    if defaults is None:
        return None
    no_rank = "q_lora_rank" in document and document["q_lora_rank"] is None
    rank, plain, rotated, value = (count(name, defaults[name]) for name in FIELDS)
    return LatentAttention(rank, 0 if no_rank else count("q_lora_rank", DEFAULT_QUERY_RANK), plain, rotated, value)


def latent_from_gguf(metadata: Mapping[str, Any], key: str, count: Count) -> LatentAttention | None:
    """What a GGUF file declares under KEY (`deepseek2.`); None without a rank.

    Newer files give the sizes of a head as `..._mla` and describe, beside them, one head of the vector itself.
    """
    if metadata.get(f"{key}attention.kv_lora_rank") is None:
        return None
    mla = "_mla" if metadata.get(f"{key}attention.key_length_mla") is not None else ""
    rotated = count(f"{key}rope.dimension_count", None)
    whole = count(f"{key}attention.key_length{mla}", None)
    query = f"{key}attention.q_lora_rank"
    return LatentAttention(
        rank=count(f"{key}attention.kv_lora_rank", None),
        query_rank=count(query, None) if metadata.get(query) else 0,
        plain=max(1, whole - rotated),
        rotated=rotated,
        value=count(f"{key}attention.value_length{mla}", None),
    )


def latent_from_apr(values: Mapping[str, Any], count: Count) -> LatentAttention | None:
    """What APR metadata declare under the names of config.json; None without a rank."""
    if values.get("kv_lora_rank") is None:
        return None
    rank, plain, rotated, value = (count(name, None) for name in FIELDS)
    query = count("q_lora_rank", None) if values.get("q_lora_rank") else 0
    return LatentAttention(rank, query, plain, rotated, value)
