"""A small byte-level BPE tokenizer.json, written out field by field, with one of the field's split patterns."""

from __future__ import annotations

import random
from typing import Any

from pytest_aprqa.models.pre_tokenizers import PATTERNS, WHOLE_TOKENS_FIRST
from pytest_aprqa.random_models.shape import ModelShape

SPECIALS = {
    "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "headers": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "none": ("<|endoftext|>",),
}
# BOS, end of text, end of turn (None: there are no turns)
ROLES: dict[str, tuple[str, str, str | None]] = {
    "chatml": ("<|endoftext|>", "<|endoftext|>", "<|im_end|>"),
    "headers": ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
    "none": ("<|endoftext|>", "<|endoftext|>", None),
}
TEMPLATES: dict[str, str | None] = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
        " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "headers": (
        "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
        " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "none": None,
}
_WORD_BYTES = b"etaoinshrdlu 0123\n\xc3\xa4\xe4\xbd\xa0"


def byte_letters() -> list[str]:
    """The letter of each byte in GPT-2's byte-level alphabet (openai/gpt-2, encoder.py), by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def tokenizer_document(shape: ModelShape, seed: int) -> dict[str, Any]:
    """tokenizer.json of `shape` as plain data: 256 bytes, `merges` merged tokens, the special tokens."""
    letters, merges = byte_letters(), _merges(shape.merges, seed)
    ordinary = [*letters, *(left + right for left, right in merges)]
    specials = SPECIALS[shape.template]
    first = len(specials) if shape.specials_first else 0
    vocabulary = {token: first + number for number, token in enumerate(ordinary)}
    start = 0 if shape.specials_first else len(ordinary)
    ids = {token: start + number for number, token in enumerate(specials)}
    if shape.specials_first:
        vocabulary = {**ids, **vocabulary}  # the library gives added tokens that it does not find here new ids
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number, token) for token, number in ids.items()],
        "normalizer": {"type": "NFC"} if shape.pre_tokenizer == "qwen2" else None,
        "pre_tokenizer": _splits(shape.pre_tokenizer),
        "post_processor": _post_processor(shape, ids),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": shape.pre_tokenizer in WHOLE_TOKENS_FIRST,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        },
    }


def token_ids(document: dict[str, Any]) -> dict[str, int]:
    """Text -> id of every token of a tokenizer.json."""
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    return {**document["model"]["vocab"], **added}


def _merges(count: int, seed: int) -> list[tuple[str, str]]:
    draw, letters = random.Random(seed ^ 0x7E57), byte_letters()  # noqa: S311 - repeatable on purpose
    parts = [letters[byte] for byte in _WORD_BYTES]
    known, merges = set(letters), list[tuple[str, str]]()
    while len(merges) < count:
        left, right = draw.choice(parts), draw.choice(parts)
        if left + right not in known:
            known.add(left + right)
            parts.append(left + right)
            merges.append((left, right))
    return merges


def _added(number: int, token: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **flags, "special": True}


def _splits(name: str) -> dict[str, Any]:
    split = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in PATTERNS[name]
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [*split, byte_level]}


def _post_processor(shape: ModelShape, ids: dict[str, int]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if not shape.add_bos:
        return byte_level
    begin = ROLES[shape.template][0]
    special, first = {"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    template = {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, {"SpecialToken": {"id": begin, "type_id": 1}}, second],
        "special_tokens": {begin: {"id": begin, "ids": [ids[begin]], "tokens": [begin]}},
    }
    return {"type": "Sequence", "processors": [byte_level, template]}
