"""Why two tokenizers part: what their declarations say, and what a differing text tells."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

from pytest_aprqa.models.pre_tokenizers import PATTERNS
from pytest_aprqa.models.tokenizer import CONTROL, UNUSED, USER_DEFINED, TokenizerDeclaration

MERGES_LOST = "merges lost"
PRE_TOKENIZER = "pre-tokenizer differs"
ADDED_LOST = "added tokens lost"
OFF_BY_ONE = "off by one: ids are shifted"
BOS_POLICY = "BOS policy differs"
EOS_POLICY = "EOS policy differs"
TYPES_LOST = "token types lost: engines take special tokens for ordinary text"
SHORT = "vocabulary shorter than rows"
OTHER_TOKENS = "other tokens: ids name other texts"
STOPS = "other stop tokens"
EOS_LOST = "no EOS id is declared: engines end an answer at an id of their own"
TEMPLATE = "the chat template is not the source's"
TEMPLATE_LOST = "the chat template is lost"
OTHER = "another tokenization"
NORMALISER = "the normaliser is another one or lost"
MODEL_SETTINGS = "settings of the vocabulary's model differ (dropout, merges, unknown token)"
MATCHING = "added tokens are matched otherwise: the spaces around them are eaten, or they are no longer found"
DROPOUT = "words are split at random: dropout of the training was left in tokenizer.json"
#: Parts of tokenizer.json that decide how a text is split; what else the model holds are its settings.
_PARTS = {"normalizer": NORMALISER, "pre_tokenizer": PRE_TOKENIZER}
_TABLES = ("vocab", "merges")
_MATCH_FLAGS = ("lstrip", "rstrip", "single_word")
SAMPLE = 4096  # ids that are looked at for a shift
SHOWN = 5
_FILLERS = ("[PAD", "[UNUSED", "<unk>", "<unused", "<pad>")

Row = tuple[str, str, str, str]


def _byte_alphabet() -> dict[int, str]:
    """The character that byte-level vocabularies write for each byte (GPT-2's published table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}


BYTE_ALPHABET = _byte_alphabet()


def declaration_problems(
    source: TokenizerDeclaration, target: TokenizerDeclaration, rows: int | None, types_required: bool
) -> Iterator[Row]:
    """(field, expected, found, cause) of what the target declares otherwise than the source."""
    if types_required and not target.types_declared:
        yield "token types", "declared", "none", TYPES_LOST
    if not target.pre_declared:
        yield "pre-tokenizer", source.pre_tokenizer, "none, engines take `default`", PRE_TOKENIZER
    elif _other_splits(source, target):
        yield "pre-tokenizer", source.pre_tokenizer, target.pre_tokenizer, PRE_TOKENIZER
    if target.end_ids != source.end_ids:
        cause = STOPS if target.eos_declared else EOS_LOST
        yield "stop tokens", str(sorted(source.end_ids)[:SHOWN]), str(sorted(target.end_ids)[:SHOWN]), cause
    if (target.chat_template or "") != (source.chat_template or ""):
        lengths = [f"{len(template or '')} characters" for template in (source.chat_template, target.chat_template)]
        yield "chat template", lengths[0], lengths[1], TEMPLATE if target.chat_template else TEMPLATE_LOST
    if rows is not None and target.vocab_size < rows:
        yield "tokens", f"{rows} rows", f"{target.vocab_size} tokens", SHORT
    yield from _token_problems(source, target)
    if source.merges and target.merges and (lost := len(set(source.merges) - set(target.merges))):
        yield "merges", f"{len(source.merges)} merges", f"{lost} of them lost", MERGES_LOST
    elif source.merges and target.merges and source.merges != target.merges[: len(source.merges)]:
        at = next(n for n, (a, b) in enumerate(zip(source.merges, target.merges, strict=False)) if a != b)
        yield "merges", repr(source.merges[at]), f"{target.merges[at]!r} at {at}", "merges are in another order"


def _token_problems(source: TokenizerDeclaration, target: TokenizerDeclaration) -> Iterator[Row]:
    if target.vocab_size < _used(source):
        yield "tokens", f"{_used(source)} tokens", f"{target.vocab_size} tokens", SHORT
    pairs = list(zip(source.tokens, target.tokens, strict=False))
    differing = [i for i, (a, b) in enumerate(pairs) if _plain(source, a) != _plain(target, b) and not _filler(a, b)]
    if differing:
        at = differing[0]
        cause = OFF_BY_ONE if shift_of(source, target) else OTHER_TOKENS
        if source.token_types[at] in (CONTROL, USER_DEFINED):
            cause = ADDED_LOST if source.tokens[at] not in target.index else cause
        found = f"{target.tokens[at][:40]!r}, {len(differing)} ids differ"
        yield f"token {at}", repr(source.tokens[at][:40]), found, cause
    if lost := lost_special_tokens(source, target):
        found = f"ordinary text or absent: {', '.join(lost[:SHOWN])}"
        yield "added tokens", f"{len(lost)} tokens that are special", found, ADDED_LOST


def _plain(declaration: TokenizerDeclaration, token: str) -> str:
    """A WordPiece token without the marks of its format: its beginning (GGUF) or continuation (Hugging Face)."""
    return token.removeprefix("##").removeprefix("\u2581") if declaration.kind == "bert" else token


def _filler(first: str, second: str) -> bool:
    return first.startswith(_FILLERS) and second.startswith(_FILLERS)


def _used(declaration: TokenizerDeclaration) -> int:
    return next((i + 1 for i in reversed(range(declaration.vocab_size)) if declaration.token_types[i] != UNUSED), 0)


def shift_of(source: TokenizerDeclaration, target: TokenizerDeclaration) -> int:
    """1 or -1 when most tokens of the target stand one id later or earlier than the source's, else 0."""
    ids = range(1, min(source.vocab_size, target.vocab_size, SAMPLE) - 1)
    for shift in (1, -1):
        if ids and sum(target.tokens[i + shift] == source.tokens[i] for i in ids) > len(ids) / 2:
            return shift
    return 0


def lost_special_tokens(source: TokenizerDeclaration, target: TokenizerDeclaration) -> list[str]:
    """Texts that the source never splits (control, user-defined) and the target splits or does not know."""
    kept = {target.tokens[i] for i, kind in enumerate(target.token_types) if kind in (CONTROL, USER_DEFINED, 2)}
    special = (CONTROL, USER_DEFINED)
    own = [token for token, kind in zip(source.tokens, source.token_types, strict=True) if kind in special]
    return [token for token in own if token not in kept and not _one_token_anyway(target, token)]


def _one_token_anyway(target: TokenizerDeclaration, token: str) -> bool:
    """A user-defined token that merges make of its text all the same is not lost."""
    return token in target.index and target.encode(token, add_special=False) == [target.index[token]]


def likely_cause(
    source: TokenizerDeclaration,
    target: TokenizerDeclaration,
    text: str,
    known: dict[str, str],
) -> str:
    """The first cause that explains the ids of TEXT. `known` keeps what holds for the whole pair between calls."""
    plain_expected = source.encode(text, add_special=False)
    plain_found = target.encode(text, add_special=False)
    if plain_expected != plain_found and target.hf_json is None:
        plain_found = target.encode(unicodedata.normalize("NFC", text), add_special=False)
    if plain_expected == plain_found:
        return BOS_POLICY if _edges(source)[0] != _edges(target)[0] else EOS_POLICY
    if "shift" not in known:
        known["shift"] = str(shift_of(source, target))
        known["lost"] = "\0".join(lost_special_tokens(source, target))
        known["merges"] = "lost" if set(source.merges) - set(target.merges) and target.merges else ""
        unnamed = source.pre_tokenizer not in PATTERNS and source.kind == target.kind == "gpt2"
        known["pre"] = "differs" if unnamed or _other_splits(source, target) else ""
        known["part"] = _other_part(source, target) or ""
        known["matched"] = "\0".join(matched_otherwise(source, target))
    if known["shift"] != "0":
        return OFF_BY_ONE
    if any(token and token in text for token in known["lost"].split("\0")):
        return ADDED_LOST
    if any(token and token in text for token in known["matched"].split("\0")):
        return MATCHING
    if max(plain_expected, default=0) >= target.vocab_size:
        return SHORT
    if known["merges"]:
        return MERGES_LOST
    if known["pre"]:
        return PRE_TOKENIZER
    if known["part"]:
        return known["part"]
    if len(plain_expected) == len(plain_found):
        return OTHER_TOKENS
    return OTHER


def matched_otherwise(source: TokenizerDeclaration, target: TokenizerDeclaration) -> dict[str, tuple[str, str]]:
    """Added token -> (the source's rule, the target's) where two tokenizer.json look for it in a text otherwise."""
    if source.hf_json is None or target.hf_json is None or source.hf_json == target.hf_json:
        return {}
    mine, theirs = (_matching(one) for one in (source.hf_json, target.hf_json))
    return {text: (rule, theirs[text]) for text, rule in mine.items() if theirs.get(text, rule) != rule}


def dropout_of(declaration: TokenizerDeclaration) -> float:
    """Share of merges that a tokenizer.json leaves out at random; 0 where it says nothing, or in another format."""
    if declaration.hf_json is None or '"dropout"' not in declaration.hf_json:
        return 0.0
    value = json.loads(declaration.hf_json)["model"].get("dropout")
    return float(value) if isinstance(value, (int, float)) else 0.0


def _matching(document: str) -> dict[str, str]:
    """Text of each added token -> the flags that widen or narrow what it is found in."""
    added = json.loads(document).get("added_tokens") or []
    return {one["content"]: ", ".join(f for f in _MATCH_FLAGS if one.get(f)) or "as written" for one in added}


def _other_part(source: TokenizerDeclaration, target: TokenizerDeclaration) -> str | None:
    """The first part of two tokenizer.json that differs and explains another tokenization; None of other formats."""
    if source.hf_json is None or target.hf_json is None:
        return None
    mine, theirs = json.loads(source.hf_json), json.loads(target.hf_json)
    for part, cause in _PARTS.items():
        if mine.get(part) != theirs.get(part):
            return cause
    models = [{k: v for k, v in one["model"].items() if k not in _TABLES} for one in (mine, theirs)]
    return MODEL_SETTINGS if models[0] != models[1] else None


def _edges(declaration: TokenizerDeclaration) -> tuple[list[int], list[int]]:
    """Ids that the declaration puts before and behind a text."""
    plain, whole = declaration.encode("a", add_special=False), declaration.encode("a")
    at = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
    return whole[:at], whole[at + len(plain) :]


def _other_splits(source: TokenizerDeclaration, target: TokenizerDeclaration) -> bool:
    names = source.pre_tokenizer, target.pre_tokenizer
    if not source.kind == target.kind == "gpt2" or not all(name in PATTERNS for name in names):
        return False
    return PATTERNS[names[0]] != PATTERNS[names[1]]
