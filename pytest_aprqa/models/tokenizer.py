"""A tokenizer as its file declares it, and the `tokenizers` object built from exactly that declaration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import TokenizerPanic
from pytest_aprqa.models.tokenizer_build import build_tokenizer, library_errors

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
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
    # Kind of vocabulary by its GGUF name: gpt2 (byte-level BPE), llama (SentencePiece), gemma4, bert, t5.
    kind: str = "gpt2"
    # Of SentencePiece and Unigram, by id; the best is merged first.
    scores: list[float] = field(default_factory=list, repr=False)
    unknown_id: int | None = None
    # Put behind every text: EOS where the file says so, the separator of WordPiece.
    closing_id: int | None = None
    add_space_prefix: bool = False
    remove_extra_whitespaces: bool = False
    charsmap: bytes = field(default=b"", repr=False)
    # Special tokens that take the white space behind them along.
    stripped_behind: frozenset[str] = frozenset()
    # False where a file that should name its pre-tokenizer names none.
    pre_declared: bool = True
    # False where a byte-level GGUF file names no EOS: llama.cpp then ends answers at a fixed id of its own.
    eos_declared: bool = True

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
    def index(self) -> dict[str, int]:
        """Token text -> id, the first of equal ones."""
        return {token: i for i, token in reversed(list(enumerate(self.tokens)))}

    @cached_property
    def built(self) -> Any:
        """The `tokenizers.Tokenizer`, built once. ModelError for a declaration that cannot be built."""
        return self.build()

    def build(self) -> Any:
        """A new `tokenizers.Tokenizer` from this declaration. ModelError if there is none."""
        from tokenizers import Tokenizer

        if self.hf_json is None:
            return build_tokenizer(self)
        with library_errors(self.path, "tokenizer.json", "cannot be built"):
            tokenizer = Tokenizer.from_str(self.hf_json)
            tokenizer.no_truncation()
            # Padding saved from a training run is no part of a prompt; a huge one would abort this process.
            tokenizer.no_padding()
        return tokenizer

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text; special tokens written in the text are parsed; a declared BOS is put in front.

        As transformers and llama.cpp do, BOS is added even to a text that begins with it: render chats with
        `add_special=False`. ModelError for text that is not Unicode; TokenizerPanic if the library dies.
        """
        tokenizer = self.built
        with library_errors(self.path, "tokenizer", "cannot encode", TokenizerPanic):
            ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special and self.hf_json is not None).ids
        if add_special and self.hf_json is None:
            first = [self.bos_id] if self.add_bos and self.bos_id is not None else []
            return [*first, *ids, *([self.closing_id] if self.closing_id is not None else [])]
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids. ModelError for a number that is no id; TokenizerPanic if the library dies."""
        tokenizer = self.built
        with library_errors(self.path, "tokenizer", "cannot decode", TokenizerPanic):
            text: str = tokenizer.decode(list(ids), skip_special_tokens=skip_special)
        return text


def end_ids(tokens: Sequence[str], types: Sequence[int], declared: Sequence[int]) -> frozenset[int]:
    """All ids that end a generation: the declared ones and special tokens whose name says so."""
    special = (CONTROL, USER_DEFINED)
    named = {i for i, (t, kind) in enumerate(zip(tokens, types, strict=True)) if kind in special and t in END_NAMES}
    return frozenset(named | set(declared))
