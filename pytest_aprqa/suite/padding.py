"""How much of an answer is padding: entries of the vocabulary that no trained model says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import OpenArtifact

MOST_PADDING = 0.5  # share of generated tokens; a transposed head gives nearly all (upstream GH-202)
PADDING_WORDS = ("[pad", "<pad", "<|pad")


def padding_share(artifact: OpenArtifact, ids: Sequence[int]) -> float:
    """Share of IDS that are padding, unused entries, or beyond the vocabulary of the tokenizer; 0 of none."""
    padding, known = padding_ids(artifact), len(artifact.tokenizer.tokens)
    return sum(i in padding or i >= known for i in ids) / len(ids) if ids else 0.0


def padding_ids(artifact: OpenArtifact) -> set[int]:
    """Ids of the vocabulary that are padding or unused entries."""
    from pytest_aprqa.models.tokenizer import UNUSED

    tokenizer = artifact.tokenizer
    return {
        number
        for number, (token, kind) in enumerate(zip(tokenizer.tokens, tokenizer.token_types, strict=True))
        if kind == UNUSED or token.lower().startswith(PADDING_WORDS)
    }
