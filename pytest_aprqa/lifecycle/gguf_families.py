"""What llama.cpp needs of families whose tensors are not stored one to one: InternLM2, DeepSeek-V2.

Facts of its public converter and loaders (`llama_model_internlm2`, `llama_model_deepseek2`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.joined_tensors import part_shapes, split_values
from pytest_aprqa.formats.names import expert_names, gguf_name
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.source import Source
from pytest_aprqa.lifecycle.tensor_types import encoded, encoded_values, is_buffer, target_dtype

Keys = dict[str, tuple[Any, str]]

_EXPERT = re.compile(r"model\.layers\.\d+\.mlp\.experts\.\d+\.(?:gate|up|down)_proj\.weight")
_ROUTER = ".ffn_gate_inp."  # stays F32 in every file, as llama.cpp's converter has it
ADVICE = "publish the converted file yourself and name it in the playbook"
#: model_type -> why llama.cpp cannot run it, whatever is written into a file
NOT_IN_LLAMA_CPP = {
    "phi3small": "llama.cpp has no architecture for it (block-sparse attention, gated GELU with limits)"
}


@dataclass(frozen=True, slots=True)
class FamilyTensor:
    """One tensor of the file: `sources` are stacked (several), or cut into parts of which `part` is the number."""

    name: str
    kind: str
    shape: tuple[int, ...]
    sources: tuple[TensorEntry, ...]
    part: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are read for it."""
        return sum(entry.nbytes for entry in self.sources)

    def payload(self, source: Source) -> NDArray[np.uint8]:
        """Its bytes; memory of the tensor, and of its source as float32 where it is cut."""
        if self.part is None:
            pieces = [encoded(source.weights, entry, self.kind).reshape(-1) for entry in self.sources]
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        (entry,), config = self.sources, source.config
        whole, latent = source.weights.read(entry.name), config.latent
        parts = split_values(whole, config.num_heads, config.num_kv_heads, _split(source), latent=latent is not None)
        values = parts[self.part].reshape(-1, self.shape[-1])
        return encoded_values(source.weights, entry, self.kind, values).reshape(-1)


def family_plan(source: Source, dtype: str) -> list[FamilyTensor]:
    """Every tensor of the GGUF file in the source's order. LifecycleError: what llama.cpp has no place for."""
    _check(source)
    architecture, path = source.config.architecture, source.weights.path
    plan: list[FamilyTensor] = []
    for name, entry in source.weights.entries.items():
        if is_buffer(entry) or (name == "lm_head.weight" and source.config.tied_embeddings):
            continue
        parts = _parts(source, name, entry)
        for number, (part, shape) in enumerate(parts.items()):
            kind = target_dtype(path, replace(entry, shape=shape), dtype)
            plan.append(FamilyTensor(part, kind, shape, (entry,), number))
        if parts or (_EXPERT.fullmatch(name) and not _is_first_expert(name)):
            continue
        stored = gguf_name(name, architecture)
        if stored is None or name.endswith(".bias"):
            raise LifecycleError(path, name, "llama.cpp has no place for this tensor", advice=ADVICE)
        experts = _EXPERT.fullmatch(name) is not None
        sources = _experts(source, stored, entry) if experts else (entry,)
        kind = "F32" if _ROUTER in stored else target_dtype(path, entry, dtype)
        plan.append(FamilyTensor(stored, kind, (len(sources), *entry.shape) if experts else entry.shape, sources))
    return plan


def family_keys(source: Source) -> Keys:
    """Key without the architecture -> (value, value type): what is other or more than in a Llama's file."""
    config, latent, document = source.config, source.config.latent, source.config_json
    if latent is None:
        return {}
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
        keys["expert_count"] = (config.num_experts, "uint32")
        keys["expert_used_count"] = (_used(source), "uint32")
        keys["expert_weights_scale"] = (float(document.get("routed_scaling_factor") or 1.0), "float32")
        keys["expert_gating_func"] = (1, "uint32")  # softmax
    return keys


def _split(source: Source) -> int:
    latent = source.config.latent
    return latent.plain if latent else source.config.head_dim


def _parts(source: Source, name: str, entry: TensorEntry) -> dict[str, tuple[int, ...]]:
    config = source.config
    try:
        return part_shapes(
            name, config.architecture, entry.shape, config.num_heads, config.num_kv_heads, _split(source)
        )
    except ValueError as problem:
        raise LifecycleError(source.weights.path, name, str(problem), advice="fetch config.json again") from None


def _is_first_expert(name: str) -> bool:
    return ".mlp.experts.0." in name


def _experts(source: Source, stored: str, first: TensorEntry) -> tuple[TensorEntry, ...]:
    """The same matrix of all experts of a layer, in their order."""
    found = []
    for name in expert_names(stored, source.config.architecture, source.config.num_experts):
        entry = source.weights.entries.get(name)
        if entry is None or (entry.shape, entry.dtype) != (first.shape, first.dtype):
            what = "is missing" if entry is None else f"is not like the first expert: {entry.dtype} {list(entry.shape)}"
            raise LifecycleError(source.weights.path, name, what, advice="fetch the model again")
        found.append(entry)
    return tuple(found)


def _used(source: Source) -> int:
    used = source.config_json.get("num_experts_per_tok")
    if isinstance(used, bool) or not isinstance(used, int) or not 1 <= used <= source.config.num_experts:
        limit = f"1 to {source.config.num_experts}"
        raise LifecycleError(
            source.folder / "config.json", "num_experts_per_tok", "is no number of experts", found=used, limit=limit
        )
    return used


def _check(source: Source) -> None:
    """LifecycleError for declarations that llama.cpp's code of the family does not compute."""
    config, document = source.config, source.config_json

    def refuse(field: str, problem: str, found: Any, limit: Any) -> None:
        raise LifecycleError(source.folder / "config.json", field, problem, found=found, limit=limit, advice=ADVICE)

    if config.latent is None:
        if config.tied_embeddings:
            refuse("tie_word_embeddings", "llama.cpp reads a head of its own for this family", True, False)
        if config.num_heads * config.head_dim != config.hidden_size:
            refuse("head_dim", "llama.cpp takes hidden size / heads", config.head_dim, config.hidden_size)
        return
    if not config.num_experts:
        return
    if config.shared_experts == 0:
        refuse("n_shared_experts", "llama.cpp reads shared experts for this family", 0, "at least 1")
    if document.get("topk_method", "greedy") != "greedy" and (document.get("n_group") or 1) > 1:
        refuse("topk_method", "llama.cpp chooses experts of all groups", document["topk_method"], "greedy")
    if document.get("norm_topk_prob"):
        refuse("norm_topk_prob", "the public model code of this family does not normalise", True, False)
    _used(source)
