"""Reads the tokenizer of a Hugging Face folder: tokenizer.json, its settings, end tokens and chat template."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.pre_tokenizers import name_of
from pytest_aprqa.models.tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenizerDeclaration, end_ids

LARGEST_JSON = 256 << 20  # bytes of one file
LARGEST_ID = 1 << 24  # ids that a vocabulary may reach
AGAIN = "fetch the file again"


def tokenizer_from_hf(folder: Path) -> TokenizerDeclaration:
    """Read tokenizer.json, tokenizer_config.json, generation_config.json and the chat template of a folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            path, "file", "the tokenizer is missing", advice="fetch tokenizer.json of the model (hf download)"
        )
    text = _read(path)
    document = _parse(path, text)
    settings = companion_json(folder / "tokenizer_config.json")
    tokens, types = _tokens(path, document)
    index = {token: i for i, token in enumerate(tokens)}
    generation, config = companion_json(folder / "generation_config.json"), companion_json(folder / "config.json")
    declared = _ids(generation.get("eos_token_id")) or _ids(config.get("eos_token_id"))
    eos, bos = _token_id(settings, "eos_token", index), _token_id(settings, "bos_token", index)
    if eos is None and declared:
        eos = declared[0]
    if bos is None:
        bos = next(iter(_ids(generation.get("bos_token_id")) or _ids(config.get("bos_token_id"))), None)
    declaration = TokenizerDeclaration(
        path=path,
        tokens=tokens,
        token_types=types,
        merges=_merges(path, document["model"]),
        pre_tokenizer=name_of(document.get("pre_tokenizer")),
        bos_id=bos if bos is not None and bos < len(tokens) else None,
        eos_id=eos if eos is not None and eos < len(tokens) else None,
        end_ids=end_ids(tokens, types, [*declared, *([eos] if eos is not None else [])]),
        add_bos=False,
        chat_template=_template(folder, settings),
        hf_json=text,
        kind=_kind(document["model"]),
    )
    return _with_bos_policy(declaration)


def _kind(model: dict[str, Any]) -> str:
    """The kind of vocabulary by its GGUF name."""
    kinds = {"WordPiece": "bert", "Unigram": "t5"}
    return kinds.get(str(model.get("type")), "llama" if model.get("byte_fallback") is True else "gpt2")


def _with_bos_policy(declaration: TokenizerDeclaration) -> TokenizerDeclaration:
    """What the post-processor really puts before a text decides; it also names a BOS that nothing else declares."""
    plain, whole = declaration.encode("a", add_special=False), declaration.encode("a")
    if len(whole) != len(plain) + 1 or whole[1:] != plain:
        return declaration
    begin = whole[0]
    known = begin if declaration.bos_id is None and begin < len(declaration.tokens) else declaration.bos_id
    judged = dataclasses.replace(declaration, bos_id=known, add_bos=known == begin)
    judged.__dict__["built"] = declaration.built  # of the same text; building a large vocabulary takes a second
    return judged


def _tokens(path: Path, document: dict[str, Any]) -> tuple[list[str], list[int]]:
    """Token texts and types by id: `model.vocab` and `added_tokens`, gaps filled with unused entries."""
    model = document.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, (dict, list)) or not vocabulary:
        raise ModelError(path, "model.vocab", "is missing or empty", advice=AGAIN)
    by_id: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        for token, number in vocabulary.items():
            by_id[_checked_id(path, "model.vocab", number)] = token
    else:
        for number, pair in enumerate(vocabulary):
            if not isinstance(pair, list) or not pair or not isinstance(pair[0], str):
                raise ModelError(
                    path, f"model.vocab {number}", "is not a pair of token and score", found=repr(pair)[:60]
                )
            by_id[number] = pair[0]
    kinds: dict[int, int] = {}
    added_tokens = document.get("added_tokens") or []
    if not isinstance(added_tokens, list):
        raise ModelError(path, "added_tokens", "is not a list", found=type(added_tokens).__name__, advice=AGAIN)
    for added in added_tokens:
        if not isinstance(added, dict) or not isinstance(added.get("content"), str):
            raise ModelError(path, "added_tokens", "an entry has no text", found=repr(added)[:60], advice=AGAIN)
        number = _checked_id(path, "added_tokens", added.get("id"))
        by_id[number] = added["content"]
        kinds[number] = CONTROL if added.get("special") else USER_DEFINED
    size = max(by_id) + 1
    if size > 4 * len(by_id) + 1024:
        raise ModelError(path, "token ids", "have a large gap", found=size, limit=4 * len(by_id) + 1024)
    tokens = [by_id.get(i, f"[UNUSED{i}]") for i in range(size)]
    types = [kinds.get(i, NORMAL) if i in by_id else UNUSED for i in range(size)]
    return tokens, types


def _checked_id(path: Path, where: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < LARGEST_ID:
        raise ModelError(path, where, "has an id that is no token id", found=repr(number)[:40], limit=LARGEST_ID - 1)
    return number


def _merges(path: Path, model: dict[str, Any]) -> list[str]:
    merges = model.get("merges") or []
    if model.get("type", "BPE") == "BPE" and not merges:
        raise ModelError(path, "model.merges", "the tokenizer has no merges", advice="fetch the whole tokenizer again")
    if not isinstance(merges, list):
        raise ModelError(path, "model.merges", "is not a list", found=type(merges).__name__, advice=AGAIN)
    texts = []
    for number, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise ModelError(path, f"model.merges {number}", "is not a pair of tokens", found=repr(merge)[:60])
        texts.append(" ".join(pair))
    return texts


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """chat_template.jinja, else tokenizer_config.json: one template, or the one named `default` of several."""
    own_file = folder / "chat_template.jinja"
    if own_file.is_file():
        return _read(own_file)
    declared = settings.get("chat_template")
    if isinstance(declared, list):
        named = {one.get("name"): one.get("template") for one in declared if isinstance(one, dict)}
        declared = named.get("default")
    return declared if isinstance(declared, str) and declared else None


def _token_id(settings: dict[str, Any], name: str, index: dict[str, int]) -> int | None:
    value = settings.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return index.get(text) if isinstance(text, str) else None


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ModelError(path, "file", "is too large", found=path.stat().st_size, limit=LARGEST_JSON)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path, "file", f"cannot be read: {error}", advice=AGAIN) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(path, "file", f"is not JSON: {error}", advice=AGAIN) from None
    if not isinstance(document, dict):
        raise ModelError(path, "file", "is not a JSON object", found=type(document).__name__, advice=AGAIN)
    return document


def companion_json(path: Path) -> dict[str, Any]:
    """A JSON file that may stand beside the weights; empty where it does not. ModelError: it cannot be read."""
    return _parse(path, _read(path)) if path.is_file() else {}
