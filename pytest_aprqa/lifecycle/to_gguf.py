"""SafeTensors folder -> GGUF file as llama.cpp's own converter lays it out: names, row order, keys, tokenizer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.permutation import permute_rows
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.gguf_families import FamilyTensor, family_plan, is_plain
from pytest_aprqa.lifecycle.gguf_keys import family_keys
from pytest_aprqa.lifecycle.gguf_rules import ADVICE, NOT_IN_LLAMA_CPP, RULES, refuse_uncomputed
from pytest_aprqa.lifecycle.progress import Progress, TensorProgress
from pytest_aprqa.lifecycle.rotary_scaling import gguf_divisors, gguf_scaling_keys, same_scaling
from pytest_aprqa.lifecycle.sentence_piece import refuse_other_ids
from pytest_aprqa.lifecycle.source import Source
from pytest_aprqa.lifecycle.tensor_types import encoded, is_buffer, target_dtype
from pytest_aprqa.lifecycle.vocabulary import BYTE_LEVEL, SENTENCE_PIECE, Vocabulary, vocabulary_of
from pytest_aprqa.models.config import config_from_gguf
from pytest_aprqa.models.tokenizer_keys import PHI_3_NAME, stripped_by_name

HEAD = "lm_head.weight"
QUANTIZATION_VERSION = 2
# general.architecture per Hugging Face model_type: llama.cpp runs Mistral as "llama".
ARCHITECTURES = {family: ARCHITECTURE_OF.get(family, family) for family in RULES}
# Families whose tensors are stored as they are, but for the row order of q and k; all others: gguf_families.
STRAIGHT = ("llama", "mistral", "qwen2", "qwen3")
# Families whose q and k rows llama.cpp stores interleaved (adjacent pairs rotate together).
PERMUTED = ("llama", "mistral")
# general.file_type: the type asked for, else the one most matrices have (public GGUF specification, enum llama_ftype).
# A pure K type is nearest to the "S" recipe of its name, which mixes in least.
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14, "Q5_K": 16}
FILE_TYPES |= {"Q6_K": 18, "BF16": 32}
# Metadata of our own, only where some matrix is not of the type that was asked for: "NAME: STORED instead of ASKED".
FALLBACK_KEY = "aprqa.type_fallbacks"

# Fields that are judged elsewhere: rules know the activation and windows that bind, names of tensors tell biases.
UNREAD = (
    "architecture", "hidden_act", "sliding_window", "first_windowed_layer", "dense_layers", "output_bias", "mlp_bias",
)  # fmt: skip

PlannedTensor = tuple[str, TensorEntry, str, int | None]
WrittenTensor = tuple[str, str, tuple[int, ...], Callable[[], NDArray[np.uint8]]]


def write_gguf_from(source: Source, target: Path, *, dtype: str = "native", progress: Progress | None = None) -> None:
    """Write `source` as GGUF to `target`. `progress(tensor name, bytes done, bytes in all)` is called per tensor.

    `dtype` is one of tensor_types.DTYPES["gguf"]. A tied head is not written; q/k rows of Llama families are permuted.
    Raises LifecycleError for a family or a tensor name that GGUF has no place for, and for values `dtype` cannot hold.
    """
    architecture = _architecture(source)
    if source.config.architecture not in STRAIGHT:
        _write_reshaped(source, architecture, target, dtype, progress)
        return
    plan = _plan(source, dtype)
    refuse_uncomputed(source, [name for name, _, _, _ in plan])
    metadata = _metadata(source, architecture, plan, dtype) + _fallback_keys(plan, dtype)
    _refuse_lost_declarations(source, target, architecture, metadata, plan)
    divisors = gguf_divisors(source)
    count = TensorProgress(progress, sum(entry.nbytes for _, entry, _, _ in plan) + _nbytes(divisors))

    def payload(name: str, entry: TensorEntry, kind: str, heads: int | None) -> NDArray[np.uint8]:
        count.step(name, entry.nbytes)
        data = encoded(source.weights, entry, kind)
        if heads is not None:
            data = permute_rows(data.reshape(entry.shape[0], -1), heads)
        return data.reshape(-1)

    tensors = [
        (name, kind, entry.shape, partial(payload, name, entry, kind, heads)) for name, entry, kind, heads in plan
    ]
    write_gguf(target, architecture, metadata, [*_rotary(divisors, count), *tensors])


def _nbytes(tensors: dict[str, NDArray[np.float32]]) -> int:
    return sum(values.nbytes for values in tensors.values())


def _rotary(divisors: dict[str, NDArray[np.float32]], count: TensorProgress) -> list[WrittenTensor]:
    """The divisors of the rotation as tensors, first as in files of llama.cpp's converter."""

    def payload(name: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        count.step(name, values.nbytes)
        return values.view(np.uint8)

    return [(name, "F32", values.shape, partial(payload, name, values)) for name, values in divisors.items()]


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
    rules = refuse_uncomputed(source, [one.name for one in plan])
    rows: list[PlannedTensor] = [
        (one.name, replace(one.sources[0], shape=one.shape), one.kind, None) for one in plan if not is_plain(one.name)
    ]
    keys = {key: (value, kind) for key, value, kind in _metadata(source, architecture, rows, dtype)}
    keys |= {f"{architecture}.{key}": value for key, value in family_keys(source, rules).items()}
    metadata = [(key, value, kind) for key, (value, kind) in keys.items() if value is not None]
    metadata += _fallback_keys(rows, dtype)
    _refuse_lost_declarations(source, target, architecture, metadata, rows)
    divisors = gguf_divisors(source)
    count = TensorProgress(progress, sum(one.nbytes for one in plan) + _nbytes(divisors))

    def payload(one: FamilyTensor) -> NDArray[np.uint8]:
        count.step(one.name, one.nbytes)
        return one.payload(source)

    tensors = [(one.name, one.kind, one.shape, partial(payload, one)) for one in plan]
    write_gguf(target, architecture, metadata, [*_rotary(divisors, count), *tensors])


def _refuse_lost_declarations(
    source: Source, target: Path, architecture: str, metadata: list[tuple[str, Any, str]], plan: list[PlannedTensor]
) -> None:
    """LifecycleError for a model that would be read from the file otherwise than its source declares it."""
    values = {key: value for key, value, _ in metadata} | {"general.architecture": architecture}
    entries = {name: TensorEntry(name, kind, entry.shape, 0, 0) for name, entry, kind, _ in plan}
    entries |= {name: TensorEntry(name, "F32", one.shape, 0, 0) for name, one in gguf_divisors(source).items()}
    read = asdict(config_from_gguf(target, values, entries))
    for field, declared in asdict(source.config).items():
        found = read[field]
        if field in UNREAD or found == declared:
            continue
        if field == "rope_scaling" and same_scaling(source, found):
            continue
        if isinstance(declared, float) and math.isclose(declared, found, rel_tol=1e-6):
            continue
        problem = "cannot be declared in a GGUF file of this family"
        raise LifecycleError(source.folder / "config.json", field, problem, found=declared, limit=found, advice=ADVICE)


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


def _metadata(source: Source, architecture: str, plan: list[PlannedTensor], dtype: str) -> list[tuple[str, Any, str]]:
    config, vocabulary = source.config, vocabulary_of(source, (BYTE_LEVEL, SENTENCE_PIECE))
    kinds = [kind for _, entry, kind, _ in plan if len(entry.shape) > 1]
    most = max(sorted(set(kinds)), key=kinds.count) if kinds else "F32"
    # A type that was asked for is declared even where short rows made most matrices fall back, as llama.cpp does.
    asked = dtype.upper()
    file_type = FILE_TYPES[asked if asked in FILE_TYPES else most]
    keys: list[tuple[str, Any, str]] = [
        ("general.type", "model", "string"),
        ("general.name", _name(source, vocabulary), "string"),
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
    keys += [(f"{architecture}.{key}", value, kind) for key, (value, kind) in gguf_scaling_keys(source).items()]
    keys += tokenizer_keys(vocabulary)
    if vocabulary.sentence_piece is not None:
        refuse_other_ids(source.tokenizer, {key: value for key, value, _ in keys})
    return keys


def _name(source: Source, vocabulary: Vocabulary) -> str:
    """Name of the model. In whatever is named Phi-3 llama.cpp wants four tokens, and drops white space behind most."""
    if not PHI_3_NAME.search(source.name):
        return source.name
    added = json.loads(source.tokenizer.hf_json or "{}").get("added_tokens") or []
    wanted = {one["content"] for one in added if one.get("rstrip")}
    same = wanted == stripped_by_name(source.name, vocabulary.tokens, vocabulary.types)
    return source.name if wanted and same else "phi"


def tokenizer_keys(vocabulary: Vocabulary) -> list[tuple[str, Any, str]]:
    """(key, value, value type) of everything that a GGUF file says about its tokenizer."""
    piece = vocabulary.sentence_piece
    keys: list[tuple[str, Any, str]] = [
        ("tokenizer.ggml.model", SENTENCE_PIECE if piece else BYTE_LEVEL, "string"),
        ("tokenizer.ggml.pre", "default" if piece else vocabulary.pre_tokenizer, "string"),
        ("tokenizer.ggml.tokens", vocabulary.tokens, "array[string]"),
        ("tokenizer.ggml.scores", piece and piece.scores, "array[float32]"),
        ("tokenizer.ggml.token_type", vocabulary.types, "array[int32]"),
        ("tokenizer.ggml.merges", None if piece else vocabulary.merges, "array[string]"),
        ("tokenizer.ggml.bos_token_id", vocabulary.bos_id, "uint32"),
        ("tokenizer.ggml.eos_token_id", vocabulary.eos_id, "uint32"),
        ("tokenizer.ggml.eot_token_id", vocabulary.turn_end_id, "uint32"),
        ("tokenizer.ggml.unknown_token_id", piece and piece.unknown_id, "uint32"),
        ("tokenizer.ggml.padding_token_id", vocabulary.padding_id, "uint32"),
        ("tokenizer.ggml.add_bos_token", vocabulary.add_bos, "bool"),
        ("tokenizer.ggml.add_eos_token", piece and piece.add_eos, "bool"),
        ("tokenizer.ggml.add_space_prefix", piece and piece.add_space_prefix, "bool"),
        ("tokenizer.chat_template", vocabulary.chat_template, "string"),
    ]
    return [key for key in keys if key[1] is not None]
