"""The tokenizer as a list indexed by token id, filled up to the embedding rows: what APR and GGUF both store."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.source import Source

# Token types of GGUF (public specification, tokenizer.ggml.token_type), used by both formats.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNKNOWN_PRE_TOKENIZER = "unknown"
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`tokens[id]`, `types[id]` (constants above), `merges` as "left right", ids None if undeclared."""

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

    def token(self, token_id: int | None) -> str | None:
        """Text of a token id, None for None."""
        return None if token_id is None else self.tokens[token_id]


def vocabulary_of(source: Source) -> Vocabulary:
    """Vocabulary of `source`, padded with unused `[PADn]` entries to vocab_size (embedding rows).

    Raises LifecycleError when the tokenizer has more tokens than the model has rows, or a gap that no row fills.
    """
    declaration = source.tokenizer
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
    if declaration.pre_tokenizer == UNKNOWN_PRE_TOKENIZER:
        raise LifecycleError(
            source.folder / "tokenizer.json",
            "pre_tokenizer",
            "its split pattern has no name in APR and GGUF",
            advice="publish the converted file yourself and name it in the playbook",
        )
    types = list(declaration.token_types)
    for token_id in range(len(tokens), rows):
        tokens.append(f"[PAD{token_id}]")
        types.append(UNUSED)
    turn_end = next((tokens.index(name) for name in TURN_ENDS if name in tokens), None)
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in declaration.merges],
        pre_tokenizer=declaration.pre_tokenizer,
        bos_id=declaration.bos_id,
        eos_id=declaration.eos_id,
        padding_id=_padding_id(source, tokens),
        turn_end_id=turn_end,
        add_bos=declaration.add_bos,
        chat_template=declaration.chat_template,
    )


def _padding_id(source: Source, tokens: list[str]) -> int | None:
    for document in (source.generation_config, source.config_json):
        value = document.get("pad_token_id")
        if isinstance(value, int) and 0 <= value < len(tokens):
            return value
    value = source.tokenizer_config.get("pad_token")
    text = value.get("content") if isinstance(value, dict) else value
    return tokens.index(text) if isinstance(text, str) and text in tokens else None
