"""The tokenizer as a list indexed by token id, filled up to the embedding rows: what APR and GGUF both store."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.sentence_piece import ADVICE, SentencePiece, sentence_piece_of
from pytest_aprqa.lifecycle.source import Source

# Token types of GGUF (public specification, tokenizer.ggml.token_type), used by both formats.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNKNOWN_PRE_TOKENIZER = "unknown"
BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"  # kinds of vocabulary by their GGUF names
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`tokens[id]`, `types[id]` (constants above), `merges` as "left right", ids None if undeclared.

    `sentence_piece` is set where the vocabulary is of that kind; byte-level ones have none.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre_tokenizer: str
    bos_id: int | None
    eos_id: int | None
    padding_id: int | None
    turn_end_id: int | None
    add_bos: bool
    chat_template: str | None
    sentence_piece: SentencePiece | None = None

    def token(self, token_id: int | None) -> str | None:
        """Text of a token id, None for None."""
        return None if token_id is None else self.tokens[token_id]


def vocabulary_of(source: Source, kinds: tuple[str, ...] = (BYTE_LEVEL,)) -> Vocabulary:
    """Vocabulary of `source`, padded with unused `[PADn]` entries to vocab_size (embedding rows).

    `kinds`: what the target's format can declare. Raises LifecycleError for another kind, when the tokenizer has more
    tokens than the model has rows, or a gap that no row fills.
    """
    declaration = source.tokenizer
    _refuse_other_kinds(source, kinds)
    rows = source.config.vocab_size
    tokens = list(declaration.tokens)
    if len(tokens) > rows:
        raise LifecycleError(
            source.folder / "tokenizer.json",
            "vocabulary",
            "more tokens than the model has embedding rows",
            found=len(tokens),
            limit=rows,
            advice="use the tokenizer that belongs to this model",
        )
    if declaration.kind == BYTE_LEVEL and declaration.pre_tokenizer == UNKNOWN_PRE_TOKENIZER:
        raise LifecycleError(
            source.folder / "tokenizer.json",
            "pre_tokenizer",
            "its split pattern has no name in APR and GGUF",
            advice=ADVICE,
        )
    types = list(declaration.token_types)
    for token_id in range(len(tokens), rows):
        tokens.append(f"[PAD{token_id}]")
        types.append(UNUSED)
    piece = sentence_piece_of(declaration, tokens, types) if declaration.kind == SENTENCE_PIECE else None
    turn_end = next((tokens.index(name) for name in TURN_ENDS if name in tokens), None)
    return Vocabulary(
        tokens=tokens,
        types=types if piece is None else piece.types,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in declaration.merges],
        pre_tokenizer=declaration.pre_tokenizer,
        bos_id=declaration.bos_id,
        eos_id=declaration.eos_id,
        padding_id=_padding_id(source, tokens),
        turn_end_id=turn_end,
        add_bos=declaration.add_bos if piece is None else piece.add_bos,
        chat_template=declaration.chat_template,
        sentence_piece=piece,
    )


def _refuse_other_kinds(source: Source, kinds: tuple[str, ...]) -> None:
    path = source.folder / "tokenizer.json"
    model = json.loads(source.tokenizer.hf_json or "{}").get("model") or {}
    named, kind = model.get("type", "BPE"), source.tokenizer.kind
    if named == "BPE" and kind in kinds:
        return
    if named == "BPE" and kind == SENTENCE_PIECE:
        problem, limit = "a file of this format cannot declare SentencePiece: GGUF can", "byte-level BPE"
        raise LifecycleError(path, "model.byte_fallback", problem, found="true", limit=limit, advice=ADVICE)
    problem = "a tokenizer of this kind cannot be written into a derived file"
    limit = "byte-level BPE" + (", SentencePiece BPE" if SENTENCE_PIECE in kinds else "")
    raise LifecycleError(path, "model.type", problem, found=named, limit=limit, advice=ADVICE)


def _padding_id(source: Source, tokens: list[str]) -> int | None:
    for document in (source.generation_config, source.config_json):
        value = document.get("pad_token_id")
        if isinstance(value, int) and 0 <= value < len(tokens):
            return value
    value = source.tokenizer_config.get("pad_token")
    text = value.get("content") if isinstance(value, dict) else value
    return tokens.index(text) if isinstance(text, str) and text in tokens else None
