"""Published models as header-only SafeTensors files: real names and shapes, a config.json, a hole for the values."""

from __future__ import annotations

import csv
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

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
