"""Model folders as small as they can be: a vocabulary of some twenty tokens instead of a letter for each byte."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.random_models import random_model_folder

SAMPLE = "Hello 12, äh"  # what the readers encode; the vocabulary has a letter for each of its bytes
_LETTERS = "HeloĠ12,Ã¤h"  # those bytes in the alphabet of GPT-2
_MERGES = (("l", "o"), ("Ġ", "1"), ("h", "e"))
_TINY = {
    "hidden": 8,
    "intermediate": 9,
    "heads": 2,
    "kv_heads": 1,
    "head_dim": 4,
    "layers": 1,
    "merges": 3,
    "shards": 1,
}
_VOCABULARY_ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def tiny_model_folder(folder: Path, seed: int, **shape: Any) -> Path:
    """Write the random model of `seed` with few tokens into `folder` and return it; `shape` as random_model_folder."""
    with tempfile.TemporaryDirectory() as name:
        made = random_model_folder(Path(name), seed, **{**_TINY, "extra_rows": 0, "specials_first": False, **shape})
        documents = {path.name: path.read_text(encoding="utf-8") for path in made.glob("*") if _is_text(path)}
        ids = _shrink_tokenizer(documents)
        for file in ("config.json", "generation_config.json"):
            documents[file] = _with_new_ids(documents[file], ids)
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in documents.items():
            (folder / file).write_text(text, encoding="utf-8")
        _write_weights(made, folder, sorted(set(ids)))
    return folder


def _is_text(path: Path) -> bool:
    return path.suffix in (".json", ".jinja")


def _shrink_tokenizer(documents: dict[str, str]) -> dict[int, int]:
    """Cut the vocabulary in tokenizer.json; old id -> new id of the tokens that stay."""
    document = json.loads(documents["tokenizer.json"])
    old = document["model"]["vocab"]
    tokens = [*_LETTERS, *("".join(pair) for pair in _MERGES)]
    specials = [token["content"] for token in document["added_tokens"]]
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    document["model"] |= {"vocab": {token: n for n, token in enumerate(tokens)}, "merges": [list(p) for p in _MERGES]}
    ids: dict[int, int] = {old[token]: n for n, token in enumerate(tokens) if token in old}
    for number, token in enumerate(specials, len(tokens)):
        document["added_tokens"][number - len(tokens)]["id"] = number
        ids[added[token]] = number
    for processor in document["post_processor"].get("processors", ()):
        for special in processor.get("special_tokens", {}).values():
            special["ids"] = [ids[one] for one in special["ids"]]
    documents["tokenizer.json"] = json.dumps(document, ensure_ascii=False)
    ids[-1] = len(tokens) + len(specials)  # the size
    return ids


def _with_new_ids(text: str, ids: dict[int, int]) -> str:
    document = json.loads(text)
    for key, value in document.items():
        if key.endswith("_token_id"):
            document[key] = [ids[one] for one in value] if isinstance(value, list) else ids[value]
    if "vocab_size" in document:
        document["vocab_size"] = ids[-1]
    return json.dumps(document)


def _write_weights(made: Path, folder: Path, old_ids: list[int]) -> None:
    """The weights of `made`, file by file, with one embedding row for each token that stays."""
    size = len(old_ids) - 1
    index = made / "model.safetensors.index.json"
    total = 0
    for path in made.glob("*.safetensors"):
        with open_tensor_file(path) as file:
            tensors = {}
            for name, entry in file.entries.items():
                values: Any = file.read_native(name)
                if name in _VOCABULARY_ROWS:
                    values = np.resize(values, (size, entry.shape[1]))
                tensors[name] = (entry.dtype, tuple(values.shape), values.tobytes())
                total += values.nbytes
        write_safetensors(folder / path.name, tensors, {"format": "pt"})
    if index.is_file():
        document = json.loads(index.read_text(encoding="utf-8"))
        document["metadata"]["total_size"] = total
        (folder / index.name).write_text(json.dumps(document), encoding="utf-8")
