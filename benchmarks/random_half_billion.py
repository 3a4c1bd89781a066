"""A random Qwen2 of 0.5 billion weights in float16, in Hugging Face layout, with the bundled tokenizer stretched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy
from safetensors.numpy import save_file

from pytest_aprqa.models.bundled import bundled_folder

SHAPES = {
    # hidden, layers, heads, key-value heads, intermediate, vocabulary
    "0.5b": (896, 24, 14, 2, 4864, 151_936),
    "small": (256, 4, 4, 2, 512, 4096),
}
CONTEXT = 2048


def make(folder: Path, shape: str) -> Path:
    """Write the model; seconds, and two bytes a weight."""
    hidden, layers, heads, kv_heads, intermediate, rows = SHAPES[shape]
    source = bundled_folder() / "models" / "tiny-qwen2"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder / name)
    _stretch_tokenizer(source / "tokenizer.json", folder / "tokenizer.json", rows)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": rows,
        "num_key_value_heads": kv_heads, "intermediate_size": intermediate, "dtype": "float16",
        "max_position_embeddings": CONTEXT, "layer_types": ["full_attention"] * layers,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    kv = kv_heads * (hidden // heads)
    random = numpy.random.default_rng(0)

    def matrix(*shape: int) -> numpy.ndarray:
        return (random.standard_normal(shape, dtype=numpy.float32) * 0.02).astype(numpy.float16)

    tensors = {"model.embed_tokens.weight": matrix(rows, hidden), "model.norm.weight": numpy.ones(hidden, "f2")}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, out, into in (
            ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", intermediate, hidden),
            ("mlp.up_proj", intermediate, hidden), ("mlp.down_proj", hidden, intermediate),
        ):  # fmt: skip
            tensors[f"{prefix}{name}.weight"] = matrix(out, into)
            if name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                tensors[f"{prefix}{name}.bias"] = matrix(out)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = numpy.ones(hidden, "f2")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _stretch_tokenizer(source: Path, target: Path, rows: int) -> None:
    """Entries that no text is cut into, so that every id of the random model has a text."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    taken = {*vocabulary.values(), *(added["id"] for added in tokenizer["added_tokens"])}
    vocabulary.update({f"w{number}": number for number in range(rows) if number not in taken})
    target.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
