"""Reads the tokenizer that a GGUF or APR file carries in its keys, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.pre_tokenizers import BEGIN_BY_NAME
from pytest_aprqa.models.tokenizer import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerDeclaration, end_ids
from pytest_aprqa.models.tokenizer_build import KINDS, MERGED_KINDS

ADVICE = "convert again with the whole tokenizer"
BYTE_LEVEL = "gpt2"
# Special tokens of a file without token types are told by their shape (apr-format 7); converters fill the rows that no
# token has with one repeated name (8.7).
_CONTROL_SHAPE = re.compile(r"<\|.+\|>", re.DOTALL)
_TAG_SHAPE = re.compile(r"</?[a-z_]{1,20}>")
FILLER = "<unk>"
PHI_3_NAME = re.compile("phi-?3", re.IGNORECASE)
_KEPT_BY_PHI_3 = frozenset({"<unk>", "<s>", "<|endoftext|>"})
_NAMED_BY_PHI_3 = _KEPT_BY_PHI_3 | {"</s>"}

COMMA = 11  # of GPT-2, and llama.cpp's EOS of every byte-level vocabulary that names none

# Ids that a kind of vocabulary has in llama.cpp where the file names none.
_DEFAULT_IDS = {
    "gpt2": {"eos": COMMA},
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "bert": {"bos": 101, "unknown": 100, "seperator": 102},
    "t5": {"eos": 1, "unknown": 2},
}


def tokenizer_from_gguf(path: Path, metadata: Mapping[str, Any]) -> TokenizerDeclaration:
    """Read `tokenizer.ggml.*` of a GGUF file. ModelError: lost, incomplete, or of a kind that is not known."""
    kind = metadata.get("tokenizer.ggml.model", BYTE_LEVEL)
    if kind not in KINDS:
        problem = "is a kind of vocabulary that is not read"
        raise ModelError(path, "tokenizer.ggml.model", problem, found=kind, limit=", ".join(KINDS))
    pre = metadata.get("tokenizer.ggml.pre", "default")
    ids = {n: metadata.get(f"tokenizer.ggml.{n}_token_id") for n in ("bos", "eos", "eot", "eom", "unknown")}
    # The key of the separator is misspelt in the format.
    ids["separator"] = metadata.get("tokenizer.ggml.seperator_token_id")
    defaults = _DEFAULT_IDS.get(kind, {})
    eos_declared = ids["eos"] is not None or kind != BYTE_LEVEL
    ids |= {name: defaults.get(name) for name in ("bos", "eos", "unknown") if ids[name] is None}
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not eos_declared and not (isinstance(tokens, list) and len(tokens) > COMMA):
        ids["eos"] = None
    if kind == "bert":
        ids["separator"] = ids["separator"] if ids["separator"] is not None else defaults["seperator"]
        ids["bos"] = metadata.get("tokenizer.ggml.cls_token_id", ids["bos"])
    # llama.cpp adds BOS to byte-level vocabularies only when told to, except those of Llama 3 and Tekken.
    begins = kind in ("llama", "bert") or (kind == BYTE_LEVEL and pre in BEGIN_BY_NAME)
    ends = metadata.get("tokenizer.ggml.add_eos_token", kind == "t5")
    declaration = _from_keys(
        path,
        tokens=metadata.get("tokenizer.ggml.tokens"),
        types=metadata.get("tokenizer.ggml.token_type"),
        merges=metadata.get("tokenizer.ggml.merges"),
        pre=pre,
        ids=ids,
        add_bos=True if kind == "bert" else metadata.get("tokenizer.ggml.add_bos_token", begins),
        template=metadata.get("tokenizer.chat_template"),
        kind=kind,
    )
    name = str(metadata.get("general.name", ""))
    return replace(
        declaration,
        stripped_behind=stripped_by_name(name, declaration.tokens, declaration.token_types),
        scores=_scores(path, metadata.get("tokenizer.ggml.scores"), len(declaration.tokens)),
        unknown_id=ids["unknown"],
        closing_id=ids["separator"] if kind == "bert" else ids["eos"] if ends else None,
        add_space_prefix=bool(metadata.get("tokenizer.ggml.add_space_prefix", kind in ("llama", "t5"))),
        remove_extra_whitespaces=bool(metadata.get("tokenizer.ggml.remove_extra_whitespaces", False)),
        charsmap=_charsmap(path, metadata.get("tokenizer.ggml.precompiled_charsmap")),
        pre_declared=kind != BYTE_LEVEL or "tokenizer.ggml.pre" in metadata,
        eos_declared=eos_declared,
    )


def stripped_by_name(name: str, tokens: Sequence[str], types: Sequence[int]) -> frozenset[str]:
    """Special tokens behind which llama.cpp drops white space: no key says so, but a model's name with Phi-3 in it.

    It refuses a file of such a name without the tokens that it looks for.
    """
    if not PHI_3_NAME.search(name) or not _NAMED_BY_PHI_3.issubset(tokens):
        return frozenset()
    special = (CONTROL, USER_DEFINED, UNKNOWN)
    return frozenset(t for t, kind in zip(tokens, types, strict=True) if kind in special) - _KEPT_BY_PHI_3


def _scores(path: Path, scores: Any, count: int) -> list[float]:
    if scores is None:
        return []
    if not isinstance(scores, list) or not all(isinstance(s, (int, float)) and not isinstance(s, bool) for s in scores):
        raise ModelError(path, "tokenizer.ggml.scores", "an entry is not a number", advice=ADVICE)
    if len(scores) != count:
        raise ModelError(path, "tokenizer.ggml.scores", "differ in number", found=len(scores), limit=count)
    return scores


def _charsmap(path: Path, values: Any) -> bytes:
    if values is None:
        return b""
    if not isinstance(values, list) or not all(isinstance(v, int) and -128 <= v < 256 for v in values):
        raise ModelError(path, "tokenizer.ggml.precompiled_charsmap", "is not a list of bytes", advice=ADVICE)
    return bytes(v & 0xFF for v in values)


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
    path: Path,
    *,
    tokens: Any,
    types: Any,
    merges: Any,
    pre: Any,
    ids: Mapping[str, Any],
    add_bos: Any,
    template: Any,
    kind: str = BYTE_LEVEL,
) -> TokenizerDeclaration:
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(path, "tokenizer", "the tokenizer is missing", advice=ADVICE)
    if not all(isinstance(t, str) for t in tokens):
        raise ModelError(path, "tokenizer tokens", "an entry is not text", advice=ADVICE)
    if not merges and kind not in MERGED_KINDS:
        merges = []
    elif not merges:
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
        end_ids=end_ids(tokens, kinds, [ids[n] for n in ("eos", "eot", "eom") if ids.get(n) is not None]),
        add_bos=bool(add_bos),
        chat_template=template if isinstance(template, str) and template else None,
        types_declared=types is not None,
        kind=kind,
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
