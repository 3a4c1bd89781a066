"""A model that says one text and stops, whatever it is asked: each token has one successor, by arithmetic alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors

SILENT = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what each layer adds to the stream is nothing
LEAD = 16.0  # of the next token's logit over all others, times the square root of the width


def reciting_model(like: Path, folder: Path, tokens: Sequence[int]) -> Path:
    """Write into `folder` a model of the shape and the tokenizer of `like`, which recites `tokens`; all values F32.

    The token after one that is not in the text is its first. ValueError: a token twice, or more than the width holds.
    """
    config = json.loads((like / "config.json").read_text(encoding="utf-8"))
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    if len(set(tokens)) < len(tokens) or not 0 < len(tokens) < width:
        raise ValueError(f"tokens: found {list(tokens)}, limit 1 to {width - 1} different ones")
    shutil.copytree(like, folder)
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}), encoding="utf-8")
    with open_tensor_file(folder / "model.safetensors") as file:
        arrays = {name: np.asarray(file.read(name), np.float32) for name in file.entries}
    for name in arrays:
        if name.endswith(SILENT):
            arrays[name] = np.zeros_like(arrays[name])
    # Direction 0 of the stream: any other token; direction k: token k of the text. The head reads what comes next.
    embedding = np.zeros((vocabulary, width), np.float32)
    head = np.zeros((vocabulary, width), np.float32)
    embedding[:, 0] = 1
    for number, token in enumerate(tokens):
        embedding[token] = 0
        embedding[token, number + 1] = 1
        head[token, number] = LEAD
    arrays |= {"model.embed_tokens.weight": embedding, "lm_head.weight": head}
    arrays["model.norm.weight"] = np.ones(width, np.float32)
    write_safetensors(
        folder / "model.safetensors",
        {name: ("F32", array.shape, array) for name, array in arrays.items()},
        metadata={"format": "pt"},
    )
    return folder
