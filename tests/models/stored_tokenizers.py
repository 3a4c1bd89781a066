"""The keys that a GGUF or APR file of a model folder holds, written here independently of the product's converters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def stored_tokenizer(folder: Path, pre: str) -> dict[str, Any]:
    """tokens, types, merges, ids and template of tokenizer.json under neutral names."""
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    by_id = {number: token for token, number in document["model"]["vocab"].items()}
    added = {one["id"]: one["content"] for one in document["added_tokens"]}
    by_id |= added
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in document["model"]["merges"]]
    tokens = [by_id[number] for number in range(len(by_id))]
    index = {token: number for number, token in enumerate(tokens)}
    return {
        "tokens": tokens,
        "types": [CONTROL if number in added else NORMAL for number in range(len(tokens))],
        "merges": merges,
        "pre": pre,
        "bos": index.get(settings.get("bos_token")),
        "eos": index[settings["eos_token"]],
        "template": settings["chat_template"],
    }


def gguf_keys(stored: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`tokenizer.*` keys of GGUF; `changes` by their name after `tokenizer.ggml.`, None removes."""
    keys = {
        "model": "gpt2",
        "pre": stored["pre"],
        "tokens": stored["tokens"],
        "token_type": stored["types"],
        "merges": stored["merges"],
        "bos_token_id": stored["bos"],
        "eos_token_id": stored["eos"],
        **changes,
    }
    metadata = {f"tokenizer.ggml.{name}": value for name, value in keys.items() if value is not None}
    return metadata | {"tokenizer.chat_template": stored["template"]}


def apr_keys(stored: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`tokenizer.*` keys of APR as the released importer writes them (no types); None removes."""
    keys = {
        "model_type": "BPE",
        "vocabulary": stored["tokens"],
        "vocab_size": len(stored["tokens"]),
        "merges": stored["merges"],
        "pre_type": stored["pre"],
        "bos_token_id": stored["bos"],
        "eos_token_id": stored["eos"],
        "chat_template": stored["template"],
        **changes,
    }
    return {f"tokenizer.{name}": value for name, value in keys.items() if value is not None}
