"""SentencePiece BPE of a tokenizer.json (byte fallback, marked spaces) as GGUF declares it: scores for merges."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.models.scored_merges import ScoredMerges, texts_of_doubt
from pytest_aprqa.models.token_battery import BATTERY, compare_tokenizers
from pytest_aprqa.models.tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, TokenizerDeclaration
from pytest_aprqa.models.tokenizer_build import SPACE, split_merge
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_gguf

ADVICE = "publish the converted file yourself and name it in the playbook"
BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
LONGEST_TOKEN = 1024  # characters; every place to cut a token in two is looked at
# Settings of the model in tokenizer.json that merge in other ways, with the values that do nothing.
_PLAIN_SETTINGS: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0, 0.0),
    "ignore_merges": (None, False),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
}
_MARKED = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREFIXED = {"type": "Prepend", "prepend": SPACE}
MIXED_TEXTS, MIXED_TOKENS = 400, 12  # texts of tokens put together at random, and tokens of each


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """What a GGUF file says of such a tokenizer beyond tokens: `types` and `scores` by id, the rest as its keys."""

    types: list[int]
    scores: list[float]
    unknown_id: int | None
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool


def sentence_piece_of(declaration: TokenizerDeclaration, tokens: Sequence[str], types: Sequence[int]) -> SentencePiece:
    """The GGUF form of `declaration` (kind "llama") for `tokens` padded to the model's rows, and their `types`.

    LifecycleError: a step before the merging, or a setting of it, that GGUF has no key for; a byte without a token.
    """
    path = declaration.path
    document = json.loads(declaration.hf_json or "{}")
    model = document["model"]
    for name, plain in _PLAIN_SETTINGS.items():
        if model.get(name) not in plain:
            raise _refused(path, f"model.{name}", "GGUF cannot declare this setting", found=model[name])
    missing = BYTE_TOKENS.difference(tokens)
    if missing:
        raise _refused(path, "model.vocab", "not every byte has a token", found=256 - len(missing), limit=256)
    longest = max(tokens, key=len)
    if len(longest) > LONGEST_TOKEN:
        raise _refused(path, "model.vocab", "a token is too long", found=len(longest), limit=LONGEST_TOKEN)
    spaced = next((merge for merge in declaration.merges if merge.count(" ") != 1), None)
    if spaced is not None:
        raise _refused(path, "model.merges", "a token with a space in it, which texts have marked", found=repr(spaced))
    if declaration.eos_id is None:
        raise _refused(path, "eos_token", "no EOS is declared, and engines end answers at id 2 then")
    unknown = model.get("unk_token")
    unknown_id = tokens.index(unknown) if unknown in tokens else None
    rows = zip(tokens, types, strict=True)
    add_bos, add_eos = _put_around(declaration)
    return SentencePiece(
        types=[_type(token, kind, number == unknown_id) for number, (token, kind) in enumerate(rows)],
        scores=_scores(tokens, declaration.merges),
        unknown_id=unknown_id,
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=_adds_space(path, document),
    )


def refuse_other_ids(source: TokenizerDeclaration, keys: Mapping[str, Any]) -> None:
    """LifecycleError naming the first text that a GGUF file with `keys` splits otherwise than `source` does.

    Compared are our reading of the keys and llama.cpp's merging by scores, over the battery, the added tokens in
    their surroundings, every text where both ways of merging can part, and tokens put together at random.
    """
    declared = tokenizer_from_gguf(source.path, keys)
    for text, expected, found in _differences(source, declared):
        problem = f"a GGUF file splits {text[:40]!r} otherwise: {found}, expected {expected}"
        raise _refused(source.path, "tokenizer", problem)


def _differences(source: TokenizerDeclaration, declared: TokenizerDeclaration) -> Iterator[tuple[str, str, str]]:
    """(text, expected, found) wherever the two part."""
    scored = ScoredMerges(declared)
    pairs = [split_merge(merge) for merge in source.merges]
    # A special token is cut out of a text before the merging; one with a marked space can be made by it.
    kinds = zip(declared.tokens, declared.token_types, strict=True)
    special = [kind in (CONTROL, USER_DEFINED, UNKNOWN) and SPACE not in token for token, kind in kinds]
    model = source.built.model
    for piece in dict.fromkeys(texts_of_doubt(declared.tokens, special, pairs)):
        yield from _parted(piece, [token.id for token in model.tokenize(piece)], scored.merge(piece))
    for text in (*BATTERY, *_around_added(source), *_mixed(source)):
        yield from _parted(text, source.encode(text), scored.encode(text))
    for problem in compare_tokenizers(source, declared).problems:
        if problem.at >= 0:
            yield problem.text, problem.expected, f"{problem.found} ({problem.cause})"


def _parted(text: str, expected: list[int], found: list[int]) -> Iterator[tuple[str, str, str]]:
    if expected != found:
        at = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
        first = max(0, at - 1)
        yield text, f"ids {expected[first : at + 4]}", f"ids {found[first : at + 4]}"


def _around_added(source: TokenizerDeclaration) -> Iterator[str]:
    """Each added token inside a word, between spaces, at the end: its flags say what it takes with it."""
    for token, kind in zip(source.tokens, source.token_types, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            yield from (f"a{token}b", f"a {token}  b\n{token}\n b", f"{token}{token} c", f" {token}")


def _mixed(source: TokenizerDeclaration) -> Iterator[str]:
    chosen = random.Random(0)  # noqa: S311 - texts for a comparison, the same in every run
    ordinary = [t for t, kind in zip(source.tokens, source.token_types, strict=True) if kind == NORMAL]
    ordinary = [token.replace(SPACE, " ") for token in ordinary if token not in BYTE_TOKENS]
    for _ in range(MIXED_TEXTS if ordinary else 0):
        yield "".join(chosen.choices(ordinary, k=MIXED_TOKENS))


def _type(token: str, kind: int, unknown: bool) -> int:
    if kind == CONTROL and unknown:
        return UNKNOWN
    return BYTE if kind == NORMAL and token in BYTE_TOKENS else kind


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """Minus the place of a token's first merge in their order; what no merge makes comes last, one character is 0."""
    first: dict[str, int] = {}
    for merge in merges:
        first.setdefault("".join(split_merge(merge)), len(first))
    return [0.0 if len(token) == 1 else -float(first.get(token, len(first))) for token in tokens]


def _put_around(declaration: TokenizerDeclaration) -> tuple[bool, bool]:
    """Whether a text gets BOS before it and EOS behind it; refused is anything else."""
    plain, whole = declaration.encode("a", add_special=False), declaration.encode("a")
    for add_bos, add_eos in ((True, True), (True, False), (False, True), (False, False)):
        if whole == [*[declaration.bos_id] * add_bos, *plain, *[declaration.eos_id] * add_eos]:
            return add_bos, add_eos
    found = str([declaration.tokens[number] for number in whole])
    raise _refused(declaration.path, "post_processor", "puts other tokens than BOS and EOS around a text", found)


def _adds_space(path: Path, document: dict[str, Any]) -> bool:
    """Whether each text begins with a space of its own; refused is what else happens to a text before the merging."""
    normalizer, splitter = document.get("normalizer"), document.get("pre_tokenizer")
    steps = _steps(normalizer, "normalizers")
    if steps not in ([], [_MARKED], [_PREFIXED, _MARKED]):
        raise _refused(path, "normalizer", "GGUF cannot declare these steps", found=json.dumps(normalizer))
    splits = _steps(splitter, "pretokenizers")
    marks = [step for step in splits if step.get("type") == "Metaspace" and step.get("replacement", SPACE) == SPACE]
    # Where the normaliser has marked all spaces, a split at spaces does nothing.
    idle = [s for s in splits if steps and s.get("type") == "Split" and s.get("pattern") == {"String": " "}]
    if len(marks) + len(idle) != len(splits) or len(marks) > 1 or not (marks or steps):
        raise _refused(path, "pre_tokenizer", "GGUF cannot declare these steps", found=json.dumps(splitter))
    return _PREFIXED in steps or any(step.get("prepend_scheme", "always") != "never" for step in marks)


def _steps(part: Any, name: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    inner = part.get(name) if part.get("type") == "Sequence" else None
    return [part] if inner is None else [one for step in inner for one in _steps(step, name)]


def _refused(path: Path, where: str, problem: str, found: Any = None, limit: Any = None) -> LifecycleError:
    return LifecycleError(path, where, problem, found=found, limit=limit, advice=ADVICE)
