"""SafeTensors folder -> GGUF file as llama.cpp's own converter lays it out: names, row order, keys, tokenizer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.permutation import permute_rows
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.gguf_families import NOT_IN_LLAMA_CPP, FamilyTensor, family_keys, family_plan
from pytest_aprqa.lifecycle.progress import Progress, TensorProgress
from pytest_aprqa.lifecycle.source import Source
from pytest_aprqa.lifecycle.tensor_types import encoded, is_buffer, target_dtype
from pytest_aprqa.lifecycle.vocabulary import Vocabulary, vocabulary_of

HEAD = "lm_head.weight"
QUANTIZATION_VERSION = 2
# general.architecture per Hugging Face model_type: llama.cpp runs Mistral as "llama".
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
# Families whose tensors are cut or stacked on the way: gguf_families.
ARCHITECTURES |= {"internlm2": "internlm2", "deepseek_v2": "deepseek2"}
RESHAPED = ("internlm2", "deepseek_v2")
# Families whose q and k rows llama.cpp stores interleaved (adjacent pairs rotate together).
PERMUTED = ("llama", "mistral")
# general.file_type: the type asked for, else the one most matrices have (public GGUF specification, enum llama_ftype).
# A pure K type is nearest to the "S" recipe of its name, which mixes in least.
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14, "Q5_K": 16}
FILE_TYPES |= {"Q6_K": 18, "BF16": 32}
# Metadata of our own, only where some matrix is not of the type that was asked for: "NAME: STORED instead of ASKED".
FALLBACK_KEY = "aprqa.type_fallbacks"

PlannedTensor = tuple[str, TensorEntry, str, int | None]


def write_gguf_from(source: Source, target: Path, *, dtype: str = "native", progress: Progress | None = None) -> None:
    """Write `source` as GGUF to `target`. `progress(tensor name, bytes done, bytes in all)` is called per tensor.

    `dtype` is one of tensor_types.DTYPES["gguf"]. A tied head is not written; q/k rows of Llama families are permuted.
    Raises LifecycleError for a family or a tensor name that GGUF has no place for, and for values `dtype` cannot hold.
    """
    architecture = _architecture(source)
    if source.config.architecture in RESHAPED:
        _write_reshaped(source, architecture, target, dtype, progress)
        return
    plan = _plan(source, dtype)
    metadata = _metadata(source, architecture, vocabulary_of(source), plan, dtype) + _fallback_keys(plan, dtype)
    count = TensorProgress(progress, sum(entry.nbytes for _, entry, _, _ in plan))

    def payload(name: str, entry: TensorEntry, kind: str, heads: int | None) -> NDArray[np.uint8]:
        count.step(name, entry.nbytes)
        data = encoded(source.weights, entry, kind)
        if heads is not None:
            data = permute_rows(data.reshape(entry.shape[0], -1), heads)
        return data.reshape(-1)

    tensors = [
        (name, kind, entry.shape, partial(payload, name, entry, kind, heads)) for name, entry, kind, heads in plan
    ]
    write_gguf(target, architecture, metadata, tensors)


def _architecture(source: Source) -> str:
    family = source.config.architecture
    if family not in ARCHITECTURES:
        why = f": {NOT_IN_LLAMA_CPP[family]}" if family in NOT_IN_LLAMA_CPP else ""
        raise LifecycleError(
            source.folder / "config.json",
            "model_type",
            f"family cannot be written as GGUF{why}",
            found=family,
            limit=", ".join(ARCHITECTURES),
        )
    return ARCHITECTURES[family]


def _write_reshaped(source: Source, architecture: str, target: Path, dtype: str, progress: Progress | None) -> None:
    plan = family_plan(source, dtype)
    rows: list[PlannedTensor] = [
        (one.name, replace(one.sources[0], shape=one.shape), one.kind, None)
        for one in plan
        if "ffn_gate_inp" not in one.name  # the router has F32 in every file
    ]
    keys = {
        key: (value, kind) for key, value, kind in _metadata(source, architecture, vocabulary_of(source), rows, dtype)
    }
    keys |= {f"{architecture}.{key}": value for key, value in family_keys(source).items()}
    metadata = [(key, value, kind) for key, (value, kind) in keys.items()] + _fallback_keys(rows, dtype)
    count = TensorProgress(progress, sum(one.nbytes for one in plan))

    def payload(one: FamilyTensor) -> NDArray[np.uint8]:
        count.step(one.name, one.nbytes)
        return one.payload(source)

    write_gguf(target, architecture, metadata, [(one.name, one.kind, one.shape, partial(payload, one)) for one in plan])


def _plan(source: Source, dtype: str) -> list[PlannedTensor]:
    """(GGUF name, source entry, stored type, heads to permute by or None) in the source's order."""
    plan = []
    for name, entry in source.weights.entries.items():
        if is_buffer(entry) or (name == HEAD and source.config.tied_embeddings):
            continue
        stored = gguf_name(name, source.config.architecture)
        if stored is None:
            raise LifecycleError(
                source.weights.path,
                name,
                "GGUF has no name for this tensor",
                advice="remove it from the source or convert with a tool that knows it",
            )
        plan.append((stored, entry, target_dtype(source.weights.path, entry, dtype), _permuted_heads(source, name)))
    return plan


def _fallback_keys(plan: list[PlannedTensor], dtype: str) -> list[tuple[str, Any, str]]:
    """The record of matrices whose rows are not whole blocks of the type that was asked for."""
    wanted = dtype.upper()
    if wanted not in codecs.QUANTISED:
        return []
    rows = [
        f"{name}: {kind} instead of {wanted}: rows of {entry.shape[-1]} are not whole blocks"
        for name, entry, kind, _ in plan
        if len(entry.shape) > 1 and kind != wanted
    ]
    return [(FALLBACK_KEY, rows, "array[string]")] if rows else []


def _permuted_heads(source: Source, name: str) -> int | None:
    if source.config.architecture not in PERMUTED:
        return None
    if ".self_attn.q_proj." in name:
        return source.config.num_heads
    return source.config.num_kv_heads if ".self_attn.k_proj." in name else None


def _metadata(
    source: Source, architecture: str, vocabulary: Vocabulary, plan: list[PlannedTensor], dtype: str
) -> list[tuple[str, Any, str]]:
    config = source.config
    kinds = [kind for _, entry, kind, _ in plan if len(entry.shape) > 1]
    most = max(sorted(set(kinds)), key=kinds.count) if kinds else "F32"
    # A type that was asked for is declared even where short rows made most matrices fall back, as llama.cpp does.
    asked = dtype.upper()
    file_type = FILE_TYPES[asked if asked in FILE_TYPES else most]
    keys: list[tuple[str, Any, str]] = [
        ("general.type", "model", "string"),
        ("general.name", source.name, "string"),
        ("general.file_type", file_type, "uint32"),
        ("general.quantization_version", QUANTIZATION_VERSION, "uint32"),
        (f"{architecture}.block_count", config.num_layers, "uint32"),
        (f"{architecture}.context_length", config.max_position_embeddings, "uint32"),
        (f"{architecture}.embedding_length", config.hidden_size, "uint32"),
        (f"{architecture}.feed_forward_length", config.intermediate_size, "uint32"),
        (f"{architecture}.attention.head_count", config.num_heads, "uint32"),
        (f"{architecture}.attention.head_count_kv", config.num_kv_heads, "uint32"),
        (f"{architecture}.attention.key_length", config.head_dim, "uint32"),
        (f"{architecture}.attention.value_length", config.head_dim, "uint32"),
        (f"{architecture}.attention.layer_norm_rms_epsilon", config.rms_norm_eps, "float32"),
        (f"{architecture}.rope.freq_base", config.rope_theta, "float32"),
        (f"{architecture}.rope.dimension_count", config.head_dim, "uint32"),
        (f"{architecture}.vocab_size", config.vocab_size, "uint32"),
    ]
    return keys + tokenizer_keys(vocabulary)


def tokenizer_keys(vocabulary: Vocabulary) -> list[tuple[str, Any, str]]:
    """(key, value, value type) of everything that a GGUF file says about its tokenizer."""
    keys: list[tuple[str, Any, str]] = [
        ("tokenizer.ggml.model", "gpt2", "string"),
        ("tokenizer.ggml.pre", vocabulary.pre_tokenizer, "string"),
        ("tokenizer.ggml.tokens", vocabulary.tokens, "array[string]"),
        ("tokenizer.ggml.token_type", vocabulary.types, "array[int32]"),
        ("tokenizer.ggml.merges", vocabulary.merges, "array[string]"),
        ("tokenizer.ggml.bos_token_id", vocabulary.bos_id, "uint32"),
        ("tokenizer.ggml.eos_token_id", vocabulary.eos_id, "uint32"),
        ("tokenizer.ggml.eot_token_id", vocabulary.turn_end_id, "uint32"),
        ("tokenizer.ggml.padding_token_id", vocabulary.padding_id, "uint32"),
        ("tokenizer.ggml.add_bos_token", vocabulary.add_bos, "bool"),
        ("tokenizer.chat_template", vocabulary.chat_template, "string"),
    ]
    return [key for key in keys if key[1] is not None]
