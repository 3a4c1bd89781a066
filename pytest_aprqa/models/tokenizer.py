"""A tokenizer as its file declares it, and the `tokenizers` object built from exactly that declaration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError, TokenizerPanic
from pytest_aprqa.models.pre_tokenizers import PATTERNS, WHOLE_TOKENS_FIRST

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
# Control tokens that end a generation whatever the eos id says; llama.cpp treats the same names as end of generation.
END_NAMES = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<end_of_turn>", "<|end|>", "<|eom_id|>"}
)


@dataclass(frozen=True)
class TokenizerDeclaration:
    """Everything a file says about its tokenizer. `tokens[id]` is the token text, `merges` are "left right".

    `types_declared` is False where the file has no token types and the reader told special tokens by their shape.
    """

    path: Path
    tokens: list[str]
    token_types: list[int]
    merges: list[str]
    pre_tokenizer: str
    bos_id: int | None
    eos_id: int | None
    end_ids: frozenset[int]
    add_bos: bool
    chat_template: str | None
    hf_json: str | None = field(default=None, repr=False)
    types_declared: bool = True

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def bos_token(self) -> str | None:
        """Text of the token that begins a text."""
        return self.tokens[self.bos_id] if self.bos_id is not None else None

    @property
    def eos_token(self) -> str | None:
        """Text of the token that ends a text."""
        return self.tokens[self.eos_id] if self.eos_id is not None else None

    @property
    def unknown_end_ids(self) -> list[int]:
        """Ids declared to end a generation that are no token of this tokenizer: beyond its list, or only padding."""
        size = len(self.tokens)
        return sorted(i for i in self.end_ids if not 0 <= i < size or self.token_types[i] == UNUSED)

    @cached_property
    def built(self) -> Any:
        """The `tokenizers.Tokenizer`, built once. ModelError for a declaration that cannot be built."""
        return self.build()

    def build(self) -> Any:
        """A new `tokenizers.Tokenizer` from this declaration. ModelError if there is none."""
        from tokenizers import Tokenizer

        if self.hf_json is None:
            return self._byte_level_bpe()
        with _library_errors(self.path, "tokenizer.json", "cannot be built"):
            tokenizer = Tokenizer.from_str(self.hf_json)
            tokenizer.no_truncation()
            # Padding saved from a training run is no part of a prompt; a huge one would abort this process.
            tokenizer.no_padding()
        return tokenizer

    def _byte_level_bpe(self) -> Any:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

        if self.pre_tokenizer not in PATTERNS:
            raise ModelError(
                self.path, "pre-tokenizer", "unknown name", found=self.pre_tokenizer, limit=", ".join(PATTERNS)
            )
        vocabulary, merges = self._vocabulary(), self._merge_pairs()
        with _library_errors(self.path, "tokenizer", "cannot be built"):
            tokenizer = Tokenizer(
                models.BPE(vocab=vocabulary, merges=merges, ignore_merges=self.pre_tokenizer in WHOLE_TOKENS_FIRST)
            )
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    *(
                        pre_tokenizers.Split(Regex(pattern), behavior="isolated")
                        for pattern in PATTERNS[self.pre_tokenizer]
                    ),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
            tokenizer.decoder = decoders.ByteLevel()
            for kind, is_special in ((CONTROL, True), (USER_DEFINED, False)):
                chosen = [t for t, own in zip(self.tokens, self.token_types, strict=True) if own == kind and t]
                tokenizer.add_tokens([AddedToken(t, special=is_special, normalized=False) for t in chosen])
        return tokenizer

    def _vocabulary(self) -> dict[str, int]:
        vocabulary: dict[str, int] = {}
        for i, (token, kind) in enumerate(zip(self.tokens, self.token_types, strict=True)):
            if kind == UNUSED:
                continue
            if token in vocabulary:
                found = f"{token[:40]!r} at {vocabulary[token]} and {i}"
                raise ModelError(self.path, "tokens", "a token occurs twice", found=found)
            vocabulary[token] = i
        return vocabulary

    def _merge_pairs(self) -> list[tuple[str, str]]:
        known = set(self.tokens)
        pairs = []
        for number, merge in enumerate(self.merges):
            left, _, right = merge.partition(" ")
            if left not in known or right not in known or left + right not in known:
                raise ModelError(
                    self.path, f"merge {number}", "names a token that is not in the vocabulary", found=merge[:80]
                )
            pairs.append((left, right))
        if not pairs:
            raise ModelError(
                self.path, "merges", "the tokenizer has no merges", advice="convert again with the whole tokenizer"
            )
        return pairs

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text; special tokens written in the text are parsed; a declared BOS is put in front.

        As transformers and llama.cpp do, BOS is added even to a text that begins with it: render chats with
        `add_special=False`. ModelError for text that is not Unicode; TokenizerPanic if the library dies.
        """
        tokenizer = self.built
        with _library_errors(self.path, "tokenizer", "cannot encode", TokenizerPanic):
            ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special and self.hf_json is not None).ids
        if add_special and self.hf_json is None and self.add_bos and self.bos_id is not None:
            ids = [self.bos_id, *ids]
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids. ModelError for a number that is no id; TokenizerPanic if the library dies."""
        tokenizer = self.built
        with _library_errors(self.path, "tokenizer", "cannot decode", TokenizerPanic):
            text: str = tokenizer.decode(list(ids), skip_special_tokens=skip_special)
        return text


@contextmanager
def _library_errors(path: Path, where: str, problem: str, panic: type[ModelError] = ModelError) -> Iterator[None]:
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


def end_ids(tokens: Sequence[str], types: Sequence[int], declared: Sequence[int]) -> frozenset[int]:
    """All ids that end a generation: the declared ones and special tokens whose name says so."""
    special = (CONTROL, USER_DEFINED)
    named = {i for i, (t, kind) in enumerate(zip(tokens, types, strict=True)) if kind in special and t in END_NAMES}
    return frozenset(named | set(declared))
