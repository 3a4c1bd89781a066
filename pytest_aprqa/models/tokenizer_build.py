"""Builds the `tokenizers` object of a declaration: byte-level BPE, SentencePiece BPE, WordPiece, Unigram.

Each kind follows what llama.cpp does with the same keys of a GGUF file; what it does not know is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.pre_tokenizers import PATTERNS, WHOLE_TOKENS_FIRST

if TYPE_CHECKING:
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"  # what SentencePiece writes for a space
LONGEST_WORD = 1 << 20  # characters; llama.cpp knows no limit of a WordPiece word
ADVICE = "convert again with the whole tokenizer"


def build_tokenizer(declaration: TokenizerDeclaration) -> Any:
    """A new `tokenizers.Tokenizer`. ModelError: a kind, pre-tokenizer or vocabulary that cannot be built."""
    build = _BUILDERS.get(declaration.kind)
    if build is None:
        limit = ", ".join(_BUILDERS)
        raise ModelError(declaration.path, "tokenizer model", "unknown kind", found=declaration.kind, limit=limit)
    vocabulary = _vocabulary(declaration)
    tokenizer = build(declaration, vocabulary)
    with library_errors(declaration.path, "tokenizer", "cannot be built"):
        _add_special_tokens(declaration, tokenizer)
    return tokenizer


def _byte_level(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    name = declaration.pre_tokenizer
    if name not in PATTERNS:
        raise ModelError(declaration.path, "pre-tokenizer", "unknown name", found=name, limit=", ".join(PATTERNS))
    merges = _merge_pairs(declaration)
    with library_errors(declaration.path, "tokenizer", "cannot be built"):
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in WHOLE_TOKENS_FIRST))
        splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in PATTERNS[name]]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> Any:
    """Pairs are merged in the order of the scores of what they make; a character without a token becomes its bytes."""
    return _with_bytes(declaration, vocabulary, _merges_by_score(declaration, vocabulary))


def _gemma4(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> Any:
    """Merges as declared, over whole lines of plain text with marked spaces."""
    from tokenizers import Regex, pre_tokenizers

    tokenizer = _with_bytes(declaration, vocabulary, _merge_pairs(declaration))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), behavior="isolated")
    return tokenizer


def _with_bytes(declaration: TokenizerDeclaration, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    unknown = declaration.tokens[declaration.unknown_id] if declaration.unknown_id is not None else None
    with library_errors(declaration.path, "tokenizer", "cannot be built"):
        tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )
        marked = normalizers.Replace(" ", SPACE)
        prefixed = normalizers.Sequence([normalizers.Prepend(SPACE), marked])
        tokenizer.normalizer = prefixed if declaration.add_space_prefix else marked
        steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(
            [*steps, decoders.Strip(" ", 1, 0)] if declaration.add_space_prefix else steps
        )
    return tokenizer


def _word_piece(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> Any:
    """GGUF marks the pieces that begin a word, the library those that continue one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    if declaration.unknown_id is None:
        raise ModelError(declaration.path, "tokenizer unknown id", "is missing", advice=ADVICE)
    special = {i for i, kind in enumerate(declaration.token_types) if kind not in (NORMAL, BYTE)}
    pieces: dict[str, int] = {}
    for token, number in vocabulary.items():
        begins = token.startswith(SPACE)
        pieces[token if number in special else token[1:] if begins else f"##{token}"] = number
    unknown = declaration.tokens[declaration.unknown_id].removeprefix(SPACE)
    with library_errors(declaration.path, "tokenizer", "cannot be built"):
        tokenizer = Tokenizer(models.WordPiece(vocab=pieces, unk_token=unknown, max_input_chars_per_word=LONGEST_WORD))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _unigram(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if len(declaration.scores) != len(declaration.tokens):
        found, limit = len(declaration.scores), len(declaration.tokens)
        raise ModelError(declaration.path, "tokenizer scores", "differ in number", found=found, limit=limit)
    rows = list(zip(declaration.tokens, declaration.scores, strict=True))
    with library_errors(declaration.path, "tokenizer", "cannot be built"):
        tokenizer = Tokenizer(models.Unigram(rows, unk_id=declaration.unknown_id, byte_fallback=False))
        steps: list[Any] = [normalizers.Precompiled(declaration.charsmap)] if declaration.charsmap else []
        if declaration.remove_extra_whitespaces:
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        tokenizer.normalizer = normalizers.Sequence(steps) if steps else None
        scheme = "always" if declaration.add_space_prefix else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tokenizer


_BUILDERS: dict[str, Callable[[TokenizerDeclaration, dict[str, int]], Any]] = {
    "gpt2": _byte_level,
    "llama": _sentence_piece,
    "gemma4": _gemma4,
    "bert": _word_piece,
    "t5": _unigram,
}
KINDS = tuple(_BUILDERS)
#: kinds whose declaration must hold merges
MERGED_KINDS = frozenset({"gpt2", "gemma4"})


def _vocabulary(declaration: TokenizerDeclaration) -> dict[str, int]:
    vocabulary: dict[str, int] = {}
    for i, (token, kind) in enumerate(zip(declaration.tokens, declaration.token_types, strict=True)):
        if kind == UNUSED:
            continue
        if token in vocabulary:
            found = f"{token[:40]!r} at {vocabulary[token]} and {i}"
            raise ModelError(declaration.path, "tokens", "a token occurs twice", found=found)
        vocabulary[token] = i
    return vocabulary


def _merge_pairs(declaration: TokenizerDeclaration) -> list[tuple[str, str]]:
    known = set(declaration.tokens)
    pairs = []
    for number, merge in enumerate(declaration.merges):
        left, right = split_merge(merge)
        if left not in known or right not in known or left + right not in known:
            problem = "names a token that is not in the vocabulary"
            raise ModelError(declaration.path, f"merge {number}", problem, found=merge[:80])
        pairs.append((left, right))
    if not pairs:
        raise ModelError(declaration.path, "merges", "the tokenizer has no merges", advice=ADVICE)
    return pairs


def split_merge(merge: str) -> tuple[str, str]:
    """(left, right) of a merge. As in llama.cpp, the first character is never the separator."""
    at = merge.find(" ", 1)
    return (merge[:at], merge[at + 1 :]) if at > 0 else (merge, "")


def _merges_by_score(declaration: TokenizerDeclaration, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """All pairs of tokens that make a token, best score first; a token without a score comes in the order of ids."""
    scores: list[float] = declaration.scores or [-float(i) for i in range(len(declaration.tokens))]
    if len(scores) < len(declaration.tokens):
        found, limit = len(scores), len(declaration.tokens)
        raise ModelError(declaration.path, "tokenizer scores", "differ in number", found=found, limit=limit)
    found_pairs = [
        (-scores[number], number, vocabulary[token[:at]], token[:at], token[at:])
        for token, number in vocabulary.items()
        if declaration.token_types[number] in (NORMAL, USER_DEFINED)
        for at in range(1, len(token))
        if token[:at] in vocabulary and token[at:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(found_pairs)]


def _add_special_tokens(declaration: TokenizerDeclaration, tokenizer: Any) -> None:
    from tokenizers import AddedToken

    kinds, eaters = (CONTROL, UNKNOWN) if declaration.kind != "gpt2" else (CONTROL,), declaration.stripped_behind
    for chosen_kinds, is_special in ((kinds, True), ((USER_DEFINED,), False)):
        rows = zip(declaration.tokens, declaration.token_types, strict=True)
        chosen = [token for token, own in rows if own in chosen_kinds and token]
        tokenizer.add_tokens([AddedToken(t, special=is_special, normalized=False, rstrip=t in eaters) for t in chosen])


@contextmanager
def library_errors(path: Path, where: str, problem: str, panic: type[ModelError] = ModelError) -> Iterator[None]:
    """Turn what the Rust library raises into ModelError. Its panics are no `Exception`, so they would pass for more."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(path, where, f"{problem}: {error}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise panic(path, where, f"{problem}: PanicException: {error}") from None
