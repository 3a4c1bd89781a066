"""Reads the tokenizer that a GGUF or APR file carries in its keys, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.pre_tokenizers import WHOLE_TOKENS_FIRST
from pytest_aprqa.models.tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenizerDeclaration, end_ids

ADVICE = "convert again with the whole tokenizer"
BYTE_LEVEL = "gpt2"
# Special tokens of a file without token types are told by their shape (apr-format 7); converters fill the rows that no
# token has with one repeated name (8.7).
_CONTROL_SHAPE = re.compile(r"<\|.+\|>", re.DOTALL)
_TAG_SHAPE = re.compile(r"</?[a-z_]{1,20}>")
FILLER = "<unk>"


def tokenizer_from_gguf(path: Path, metadata: Mapping[str, Any]) -> TokenizerDeclaration:
    """Read `tokenizer.ggml.*` of a GGUF file. ModelError: lost, incomplete, or no byte-level BPE."""
    kind = metadata.get("tokenizer.ggml.model", BYTE_LEVEL)
    if kind != BYTE_LEVEL:
        raise ModelError(
            path, "tokenizer.ggml.model", "is a kind of vocabulary that is not read", found=kind, limit=BYTE_LEVEL
        )
    pre = metadata.get("tokenizer.ggml.pre", "default")
    return _from_keys(
        path,
        tokens=metadata.get("tokenizer.ggml.tokens"),
        types=metadata.get("tokenizer.ggml.token_type"),
        merges=metadata.get("tokenizer.ggml.merges"),
        pre=pre,
        ids={n: metadata.get(f"tokenizer.ggml.{n}_token_id") for n in ("bos", "eos", "eot", "eom")},
        # llama.cpp adds BOS to byte-level vocabularies only when told to, except those of Llama 3.
        add_bos=metadata.get("tokenizer.ggml.add_bos_token", pre in WHOLE_TOKENS_FIRST),
        template=metadata.get("tokenizer.chat_template"),
    )


def tokenizer_from_apr(path: Path, metadata: Mapping[str, Any]) -> TokenizerDeclaration:
    """Read `tokenizer.*` of APR metadata; the template from either key (apr-format 7)."""
    return _from_keys(
        path,
        tokens=metadata.get("tokenizer.vocabulary"),
        types=metadata.get("tokenizer.token_type"),
        merges=metadata.get("tokenizer.merges"),
        pre=metadata.get("tokenizer.pre_type") or _pre_of(metadata),
        ids={n: metadata.get(f"tokenizer.{n}_token_id") for n in ("bos", "eos")},
        add_bos=metadata.get("tokenizer.add_bos_token", False),
        template=metadata.get("tokenizer.chat_template") or metadata.get("chat_template"),
    )


def _pre_of(metadata: Mapping[str, Any]) -> str:
    return "qwen2" if str(metadata.get("architecture", "")).startswith("qwen") else "gpt-2"


def _from_keys(
    path: Path, *, tokens: Any, types: Any, merges: Any, pre: Any, ids: Mapping[str, Any], add_bos: Any, template: Any
) -> TokenizerDeclaration:
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(path, "tokenizer", "the tokenizer is missing", advice=ADVICE)
    if not all(isinstance(t, str) for t in tokens):
        raise ModelError(path, "tokenizer tokens", "an entry is not text", advice=ADVICE)
    if not merges:
        raise ModelError(path, "tokenizer merges", "the tokenizer has no merges", advice=ADVICE)
    if not isinstance(merges, list) or not all(isinstance(m, str) for m in merges):
        raise ModelError(path, "tokenizer merges", "an entry is not text", advice=ADVICE)
    for name, value in ids.items():
        if value is not None and (not _is_count(value) or value >= len(tokens)):
            found, limit = repr(value)[:40], len(tokens) - 1
            raise ModelError(path, f"tokenizer {name} id", "is outside the vocabulary", found=found, limit=limit)
    kinds = _types_by_shape(tokens) if types is None else _declared_types(path, types, len(tokens))
    return TokenizerDeclaration(
        path=path,
        tokens=tokens,
        token_types=kinds,
        merges=merges,
        pre_tokenizer=str(pre),
        bos_id=ids.get("bos"),
        eos_id=ids.get("eos"),
        end_ids=end_ids(tokens, kinds, [v for n, v in ids.items() if n != "bos" and v is not None]),
        add_bos=bool(add_bos),
        chat_template=template if isinstance(template, str) and template else None,
        types_declared=types is not None,
    )


def _declared_types(path: Path, types: Any, count: int) -> list[int]:
    if not isinstance(types, list) or not all(map(_is_count, types)):
        raise ModelError(path, "tokenizer token types", "an entry is not a whole number", advice=ADVICE)
    if len(types) != count:
        raise ModelError(
            path, "tokenizer token types", "differ in number", found=len(types), limit=count, advice=ADVICE
        )
    return types


def _types_by_shape(tokens: list[str]) -> list[int]:
    repeated = Counter(tokens)[FILLER] > 1
    return [UNUSED if repeated and token == FILLER else _type_by_shape(token) for token in tokens]


def _type_by_shape(token: str) -> int:
    if _CONTROL_SHAPE.fullmatch(token):
        return CONTROL
    return USER_DEFINED if _TAG_SHAPE.fullmatch(token) else NORMAL


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
