"""Published models as header-only SafeTensors, GGUF and APR files: real names and shapes, a hole for the values."""

from __future__ import annotations

import csv
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from pytest_aprqa.formats.apr_layout import CODES, LAYOUT_ROW_MAJOR, align64, pack_header
from pytest_aprqa.formats.joined_tensors import part_shapes
from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.formats.names import expert_names, gguf_name
from pytest_aprqa.models.config import ModelConfig

Shapes = dict[str, tuple[int, ...]]
FACTS = Path(__file__).resolve().parents[2] / "playbooks" / "facts"
TYPES = {"BF16": 2, "F32": 4}


def published() -> dict[str, dict[str, Any]]:
    """The config.json, as far as it decides shapes, of each model of shapes.csv."""
    with (FACTS / "shapes.csv").open(encoding="utf-8", newline="") as stream:
        return {row["model_id"]: _config(row) for row in csv.DictReader(stream)}


def _config(row: dict[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model_type": row["model_type"],
        "hidden_size": int(row["hidden"]),
        "num_hidden_layers": int(row["layers"]),
        "num_attention_heads": int(row["heads"]),
        "num_key_value_heads": int(row["kv_heads"]),
        "intermediate_size": int(row["intermediate"]),
        "vocab_size": int(row["vocab"]),
        "tie_word_embeddings": row["tied"] == "true",
    }
    if row["head_dim"]:
        config["head_dim"] = int(row["head_dim"])
    if row["model_type"] == "falcon":
        config["num_kv_heads"] = int(row["kv_heads"])
    for pair in row["more"].split():
        key, _, value = pair.partition("=")
        config[key] = json.loads(value)
    return config


def write_header_only(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Path:
    """A folder with config.json and model.safetensors; the file has its full length and takes no room on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * TYPES["BF16"]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = folder / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        os.ftruncate(stream.fileno(), 8 + len(text) + end)
    return path


def gguf_shapes(config: ModelConfig, shapes: Shapes) -> Shapes:
    """The tensors as a GGUF file of the family names and shapes them: experts stacked, fused rows in parts."""
    family = config.architecture
    if any(".ln_attn." in name for name in shapes):
        family = "falcon_two_norms"
    split = config.latent.plain if config.latent else config.head_dim
    stored: Shapes = {}
    for name, shape in shapes.items():
        if parts := part_shapes(name, family, shape, config.num_heads, config.num_kv_heads, split):
            stored |= parts
            continue
        own = gguf_name(name, family)
        assert own is not None, f"{family}: no GGUF name of {name}"
        if expert_names(own, family, 1):
            shape = (stored.get(own, (0,))[0] + 1, *shape)
        else:
            assert own not in stored, f"{own}: twice"
        stored[own] = shape
    return stored


def write_gguf_header_only(path: Path, config: ModelConfig, shapes: Shapes) -> Path:
    """A GGUF file by the gguf package's own writer, cut off after the header and stretched to its full length."""
    architecture = ARCHITECTURE_OF.get(config.architecture, config.architecture)
    writer = gguf.GGUFWriter(path, architecture)
    latent = config.latent
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(1 if latent else config.num_kv_heads)
    writer.add_key_length(latent.rank + latent.rotated if latent else config.head_dim)
    writer.add_value_length(latent.rank if latent else config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if latent:
        writer.add_kv_lora_rank(latent.rank)
        writer.add_key_length_mla(latent.key)
        writer.add_value_length_mla(latent.value)
        writer.add_rope_dimension_count(latent.rotated)
        if latent.query_rank:
            writer.add_q_lora_rank(latent.query_rank)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_feed_forward_length(config.expert_size)
        writer.add_expert_shared_count(config.shared_experts)
        writer.add_leading_dense_block_count(config.dense_layers)
    end = 0
    for name, shape in gguf_shapes(config, shapes).items():
        size = math.prod(shape) * TYPES["BF16"]
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor_info(name, (*shape[:-1], shape[-1] * 2), np.dtype(np.uint8), size, kind)
        end += size + -size % 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = path.stat().st_size
    os.truncate(path, start + -start % 32 + end)
    return path


def write_apr_header_only(path: Path, config: ModelConfig, shapes: Shapes) -> Path:
    """An APR file: header, metadata, index, and a hole. No footer, as some writers leave it out."""
    metadata: dict[str, Any] = {
        "model_type": config.architecture, "total_size": 0, "param_count": 0, "architecture": config.architecture,
        "hidden_size": config.hidden_size, "num_layers": config.num_layers, "num_heads": config.num_heads,
        "num_kv_heads": config.num_kv_heads, "vocab_size": config.vocab_size,
        "intermediate_size": config.intermediate_size, "max_position_embeddings": config.max_position_embeddings,
        "rope_theta": config.rope_theta, "rope_type": 2, "rms_norm_eps": config.rms_norm_eps,
        "head_dim": config.head_dim, "tied_embeddings": config.tied_embeddings,
    }  # fmt: skip
    if config.num_experts:
        metadata |= {"num_experts": config.num_experts, "moe_intermediate_size": config.expert_size}
        metadata |= {"n_shared_experts": config.shared_experts, "first_k_dense_replace": config.dense_layers}
    if latent := config.latent:
        metadata |= {"kv_lora_rank": latent.rank, "q_lora_rank": latent.query_rank, "v_head_dim": latent.value}
        metadata |= {"qk_nope_head_dim": latent.plain, "qk_rope_head_dim": latent.rotated}
    text = json.dumps(metadata).encode()
    index, end = bytearray(), 0
    for name, shape in sorted(shapes.items()):
        size = math.prod(shape) * TYPES["BF16"]
        index += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BB", CODES["BF16"], len(shape))
        index += struct.pack(f"<{len(shape)}QQQ", *shape, end, size)
        end += align64(size)
    index_at = 64 + align64(len(text))
    data_at = index_at + align64(len(index))
    start = pack_header(LAYOUT_ROW_MAJOR, len(shapes), len(text), index_at, data_at)
    start += text.ljust(index_at - 64, b"\0") + bytes(index).ljust(data_at - index_at, b"\0")
    with path.open("wb") as stream:
        stream.write(start)
        os.ftruncate(stream.fileno(), data_at + end)
    return path
