"""Bytes of single tokens, for the kinds of vocabulary; put together they are the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.bundled import bundled_folder
from pytest_aprqa.models.token_bytes import token_bytes
from pytest_aprqa.models.tokenizer import BYTE, CONTROL, NORMAL, TokenizerDeclaration

TEXT = "Größe 你好 🙂\n\tx  = 2"


@pytest.mark.parametrize("name", ["tiny-qwen2"])
def test_tokens_of_a_text_write_the_text(name: str) -> None:
    with open_artifact(bundled_folder() / "models" / name) as opened:
        tokenizer = opened.tokenizer
        ids = tokenizer.encode(TEXT, add_special=False)
        assert b"".join(token_bytes(tokenizer, token) for token in ids).decode() == TEXT
        end = next(iter(tokenizer.end_ids))
        assert token_bytes(tokenizer, end).decode() == tokenizer.tokens[end]
        assert token_bytes(tokenizer, len(tokenizer.tokens)) == b""
        assert token_bytes(tokenizer, -1) == b""


def test_marked_spaces_and_byte_tokens_of_sentence_pieces() -> None:
    tokens = ["<s>", "<0x0A>", "\u2581the", "<0xC3>", "\u00e4"]
    declared = TokenizerDeclaration(
        path=Path("x"),
        tokens=tokens,
        token_types=[CONTROL, BYTE, NORMAL, BYTE, NORMAL],
        merges=[],
        pre_tokenizer="default",
        bos_id=0,
        eos_id=None,
        end_ids=frozenset(),
        add_bos=True,
        chat_template=None,
        kind="llama",
    )
    assert [token_bytes(declared, i) for i in range(5)] == [b"<s>", b"\n", b" the", b"\xc3", "ä".encode()]
