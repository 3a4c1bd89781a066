"""A random model as a GGUF file of its family, in the names and orders of llama.cpp's converter; for clean models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.stored_order import order_of, to_stored
from pytest_aprqa.lifecycle.source import Source, open_source
from pytest_aprqa.lifecycle.to_gguf import FILE_TYPES, QUANTIZATION_VERSION, tokenizer_keys
from pytest_aprqa.lifecycle.vocabulary import vocabulary_of

# Families whose norms have a mean, and so another key of epsilon.
_LAYER_NORM = ("falcon", "starcoder2")


def random_model_gguf(folder: Path, target: Path, dtype: str | None = None) -> Path:
    """Write the random model in `folder` to `target`, matrices in `dtype` (None: the source's) where rows fit.

    Vectors become F32. ValueError: a tensor without a name in GGUF. LifecycleError: a tokenizer that GGUF cannot hold.
    """
    with open_source(folder) as source:
        config = source.config
        architecture = ARCHITECTURE_OF.get(config.architecture, config.architecture)
        tensors, kinds = [], []
        for name, entry in source.weights.entries.items():
            stored = gguf_name(name, config.architecture)
            if stored is None:
                raise ValueError(f"{name}: no name in GGUF for a tensor of {config.architecture}")
            values = source.weights.read(name)
            order = order_of(name, config.architecture)
            values = to_stored(values, order, config.num_heads, config.num_kv_heads)
            kind = "F32" if values.ndim == 1 else _kind(dtype or entry.dtype, values.shape[-1], entry.dtype)
            kinds += [kind] if values.ndim > 1 else []
            tensors.append((stored, kind, values.shape, bytes(codecs.encode(kind, values))))
        most = dtype.upper() if dtype is not None else max(sorted(set(kinds)), key=kinds.count)
        keys = [*_keys(source, architecture, most), *tokenizer_keys(vocabulary_of(source))]
    return write_gguf(target, architecture, keys, tensors)


def _kind(dtype: str, columns: int, own: str) -> str:
    dtype = dtype.upper()
    return own if columns % codecs.BLOCKS.get(dtype, (1, 0))[0] else dtype


def _keys(source: Source, architecture: str, most: str) -> list[tuple[str, Any, str]]:
    config, declared = source.config, source.config_json
    epsilon = "layer_norm_epsilon" if config.architecture in _LAYER_NORM else "layer_norm_rms_epsilon"
    counts = {
        "block_count": config.num_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "attention.sliding_window": config.sliding_window,
    }
    numbers = {
        f"attention.{epsilon}": config.rms_norm_eps,
        "rope.freq_base": config.rope_theta,
        "attn_logit_softcapping": declared.get("attn_logit_softcapping"),
        "final_logit_softcapping": declared.get("final_logit_softcapping"),
    }
    keys: list[tuple[str, Any, str]] = [
        ("general.type", "model", "string"),
        ("general.name", source.name, "string"),
        ("general.file_type", FILE_TYPES[most], "uint32"),
        ("general.quantization_version", QUANTIZATION_VERSION, "uint32"),
    ]
    keys += [(f"{architecture}.{name}", value, "uint32") for name, value in counts.items() if value is not None]
    return keys + [(f"{architecture}.{name}", value, "float32") for name, value in numbers.items() if value is not None]
