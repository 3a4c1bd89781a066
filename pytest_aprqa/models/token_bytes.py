"""The bytes that one token writes: what a log-probability is told of, where half a character has no text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_aprqa.models.token_causes import BYTE_ALPHABET
from pytest_aprqa.models.tokenizer import BYTE, NORMAL

if TYPE_CHECKING:
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

BYTE_LEVEL = "gpt2"
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTES = {letter: byte for byte, letter in BYTE_ALPHABET.items()}
_ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


def token_bytes(tokenizer: TokenizerDeclaration, token: int) -> bytes:
    """Bytes of a token by its kind of vocabulary; a special token's are its name. Empty for an id without a token."""
    if not 0 <= token < len(tokenizer.tokens):
        return b""
    name = tokenizer.tokens[token]
    if tokenizer.token_types[token] not in (NORMAL, BYTE):
        return name.encode("utf-8", errors="replace")
    if tokenizer.kind == BYTE_LEVEL:
        if all(letter in _BYTES for letter in name):
            return bytes(_BYTES[letter] for letter in name)
        return name.encode("utf-8", errors="replace")
    one = _ONE_BYTE.match(name)
    return bytes([int(one[1], 16)]) if one else name.replace(SPACE, " ").encode("utf-8", errors="replace")
