"""SafeTensors folder -> APR v2 file: Hugging Face names, row-major, native types, full metadata and tokenizer."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.apr_writer import write_apr
from pytest_aprqa.formats.blocks import element_count, tensor_nbytes
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.gguf_rules import RULES
from pytest_aprqa.lifecycle.progress import Progress, TensorProgress
from pytest_aprqa.lifecycle.source import Source, refuse_window
from pytest_aprqa.lifecycle.tensor_types import encoded, is_buffer, target_dtype
from pytest_aprqa.lifecycle.vocabulary import Vocabulary, vocabulary_of
from pytest_aprqa.models.config import APR_ALIASES, config_from_apr

ROPE_HALVES = 2  # Hugging Face rows rotate by halves, whatever the family (spec apr-format 7)
COMPLETE = ("llama", "mistral", "qwen2", "qwen3")  # families that the common keys declare completely
# Fields of config.json that say how it was saved, trained or run, not what the model is.
_OF_RUN = re.compile(
    r"^_|^(?:architectures|auto_map|torch_dtype|dtype|transformers_version|use_cache)$|dropout|^init|_id$"
)
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
UNREAD = ("sliding_window", "first_windowed_layer", "output_bias", "mlp_bias")
# option -> (stored type, metadata "quantization"); bits and blocks as in spec apr-format 5.2 to 5.5
QUANTISATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "q8": ("APR_Q8", {"quant_type": "q8", "bits": 8, "block_size": None, "symmetric": True}),
    "q4": ("APR_Q4", {"quant_type": "q4", "bits": 4, "block_size": 32, "symmetric": True}),
    "q4_k": ("Q4_K", {"quant_type": "q4_k", "bits": 4, "block_size": 256, "symmetric": False}),
    "q6_k": ("Q6_K", {"quant_type": "q6_k", "bits": 6, "block_size": 256, "symmetric": True}),
}


def write_apr_from(source: Source, target: Path, *, dtype: str = "native", progress: Progress | None = None) -> None:
    """Write `source` as APR to `target`. `progress(tensor name, bytes done, bytes in all)` is called per tensor.

    A head tied by declaration is stored as a real copy of the embedding with the flag `tied_embeddings`. Quantised
    options (q8, q4, q4_k, q6_k) hold for matrices; one whose rows are not whole 256-element blocks keeps the source's
    type under q4_k and q6_k, because readers disagree on padded rows. LifecycleError: values a type cannot hold.
    """
    rules = RULES.get(source.config.architecture)
    if rules is None or not rules.windows:
        refuse_window(source)
    plan = _plan(source, dtype)
    metadata = _metadata(source, vocabulary_of(source), plan)
    _refuse_lost_declarations(source, metadata, plan)
    quantised, declaration = QUANTISATIONS.get(dtype, (None, None))
    if any(kind == quantised for _, _, kind in plan):
        metadata["quantization"] = declaration
    count = TensorProgress(progress, sum(entry.nbytes for _, entry, _ in plan))

    def payload(name: str, entry: TensorEntry, kind: str) -> NDArray[np.uint8]:
        count.step(name, entry.nbytes)
        if kind == quantised:
            return _quantised(source, entry, kind)
        return encoded(source.weights, entry, kind).reshape(-1)

    tensors = [(name, kind, entry.shape, partial(payload, name, entry, kind)) for name, entry, kind in plan]
    write_apr(target, metadata, tensors)


def _plan(source: Source, dtype: str) -> list[tuple[str, TensorEntry, str]]:
    """(stored name, source entry, stored type) for every tensor, sorted by name as APR's index is."""
    path = source.weights.path
    entries = source.weights.entries
    plan = [(name, entry, _stored_type(path, entry, dtype)) for name, entry in entries.items() if not is_buffer(entry)]
    if _synthesises_head(source):
        embedding = entries[EMBEDDING]
        plan.append((HEAD, embedding, _stored_type(path, embedding, dtype)))
    return sorted(plan, key=lambda item: item[0].encode())


def _stored_type(path: Path, entry: TensorEntry, dtype: str) -> str:
    kind, _ = QUANTISATIONS.get(dtype, (None, None))
    if kind is None:
        return target_dtype(path, entry, dtype)
    native = target_dtype(path, entry, "native")
    if len(entry.shape) != 2 or (kind in ("Q4_K", "Q6_K") and entry.shape[1] % 256):
        return native
    return kind


def _refuse_lost_declarations(
    source: Source, metadata: dict[str, Any], plan: list[tuple[str, TensorEntry, str]]
) -> None:
    """LifecycleError for a model that would be read from the file otherwise than its source declares it."""
    entries = {name: TensorEntry(name, kind, e.shape, 0, tensor_nbytes(kind, e.shape)) for name, e, kind in plan}
    rules = RULES.get(source.config.architecture)
    activations = rules.activations if rules is not None else ()
    read = asdict(config_from_apr(source.weights.path, metadata, entries))
    for field, declared in asdict(source.config).items():
        # A window that binds was refused before; the family says its activation, names of tensors tell biases.
        if field == "hidden_act" and declared in activations:
            continue
        if read[field] != declared and field not in UNREAD:
            raise LifecycleError(
                source.folder / "config.json",
                field,
                "cannot be declared in an APR file",
                found=declared,
                limit=read[field],
                advice="publish the converted file yourself and name it in the playbook",
            )


def _quantised(source: Source, entry: TensorEntry, kind: str) -> NDArray[np.uint8]:
    """Stored bytes of `entry` in one of the quantised types."""
    values = source.weights.read(entry.name)
    try:
        return np.frombuffer(codecs.encode(kind, values), dtype=np.uint8)
    except ValueError as problem:
        raise LifecycleError(
            source.weights.path, entry.name, f"cannot be stored as {kind}: {problem}", advice="use f32, f16 or bf16"
        ) from problem


def _synthesises_head(source: Source) -> bool:
    entries = source.weights.entries
    return source.config.tied_embeddings and HEAD not in entries and EMBEDDING in entries


def _metadata(source: Source, vocabulary: Vocabulary, plan: list[tuple[str, TensorEntry, str]]) -> dict[str, Any]:
    config = source.config
    copied = element_count(source.weights.entries[EMBEDDING].shape) if _synthesises_head(source) else 0
    metadata: dict[str, Any] = {
        "model_type": config.architecture,
        "name": source.name,
        "license": None,
        "data_source": None,
        "data_license": None,
        "original_format": "safetensors",
        "total_size": sum(tensor_nbytes(kind, entry.shape) for _, entry, kind in plan),
        "param_count": sum(element_count(entry.shape) for _, entry, _ in plan) - copied,
        "chat_template": vocabulary.chat_template,
        "chat_format": "chatml" if "<|im_start|>" in (vocabulary.chat_template or "") else None,
        "special_tokens": _special_tokens(vocabulary),
        "architecture": config.architecture,
        "hf_architecture": next(iter(source.config_json.get("architectures") or []), None),
        "hf_model_type": source.config_json.get("model_type"),
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "num_kv_heads": config.num_kv_heads,
        "vocab_size": config.vocab_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rope_theta": config.rope_theta,
        "rope_type": ROPE_HALVES,
        # Of our own readers: release 0.72.3 of `apr` passes over keys that it does not know.
        "rope_scaling": dict(config.rope_scaling) or None,
        "rms_norm_eps": config.rms_norm_eps,
        "head_dim": config.head_dim,
        "tied_embeddings": True if config.tied_embeddings else None,
        "source_metadata": {key: str(value) for key, value in source.weights.metadata.items()} or None,
        **_tokenizer_keys(source, vocabulary),
    }
    provenance = ("license", "data_source", "data_license")
    kept = {key: value for key, value in metadata.items() if value is not None or key in provenance}
    return kept | {key: value for key, value in _family_fields(source).items() if key not in metadata}


def _family_fields(source: Source) -> dict[str, Any]:
    """What config.json says of the model beyond the keys that all families have, under its own names."""
    config = source.config
    if config.architecture in COMPLETE:
        return {}
    known = {alias for aliases in APR_ALIASES.values() for alias in aliases}
    fields = {
        key: value
        for key, value in source.config_json.items()
        if value is not None and key not in known and not _OF_RUN.search(key)
    }
    experts = {"num_experts": config.num_experts, "moe_intermediate_size": config.expert_size}
    return fields | (experts if config.num_experts else {})


def _special_tokens(vocabulary: Vocabulary) -> dict[str, str | None]:
    names = {name: name if name in vocabulary.tokens else None for name in ("<|im_start|>", "<|im_end|>")}
    return {
        "bos_token": vocabulary.token(vocabulary.bos_id),
        "eos_token": vocabulary.token(vocabulary.eos_id),
        "unk_token": None,
        "pad_token": vocabulary.token(vocabulary.padding_id),
        "im_start_token": names["<|im_start|>"],
        "im_end_token": names["<|im_end|>"],
    }


def _tokenizer_keys(source: Source, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "tokenizer.model_type": "BPE",
        "tokenizer.model": "gpt2",
        "tokenizer.architecture": source.config.architecture,
        "tokenizer.model_name": source.name,
        "tokenizer.pre_type": vocabulary.pre_tokenizer,
        "tokenizer.vocab_size": len(vocabulary.tokens),
        "tokenizer.vocabulary": vocabulary.tokens,
        "tokenizer.token_type": vocabulary.types,
        "tokenizer.merges": vocabulary.merges,
        "tokenizer.bos_token_id": vocabulary.bos_id,
        "tokenizer.eos_token_id": vocabulary.eos_id,
        "tokenizer.padding_token_id": vocabulary.padding_id,
        "tokenizer.add_bos_token": vocabulary.add_bos,
        "tokenizer.chat_template": vocabulary.chat_template,
    }
