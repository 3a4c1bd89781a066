"""Greedy answers with a margin rule: another token counts only where the reference's own lead says that it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NAMED = 3  # ids of either answer that a difference keeps, from where they part


@dataclass(frozen=True, slots=True)
class TokenDifference:
    """The first token of an answer that is not the reference's. Below `limit` the reference itself hardly chose.

    `margin`, `limit`: nats between the reference's best and second token; infinite where nothing excuses another one.
    """

    prompt: str
    at: int
    expected: list[int]
    found: list[int]
    margin: float
    limit: float

    @property
    def matters(self) -> bool:
        """True when the reference's best token led by more than the noise of the stored type."""
        return self.margin > self.limit


def first_token(expected: Sequence[int], found: Sequence[int]) -> int | None:
    """Index at which two lists of ids part, the shorter one's length where it is the other's beginning; None: equal."""
    pairs = zip(expected, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))
    return None if at == len(expected) == len(found) else at


def compare_greedy(
    expected: Sequence[int], found: Sequence[int], margins: Sequence[float], limit: float, *, prompt: str = ""
) -> TokenDifference | None:
    """Where two greedy answers part, or None. `margins[i]`: by how much token i of `expected` led, nats.

    Only the first difference is judged: after it the two models read different texts. A token past the end of
    `expected` has no margin: nothing excuses it.
    """
    at = first_token(expected, found)
    if at is None:
        return None
    margin = margins[at] if at < len(margins) else float("inf")
    part = slice(at, at + NAMED)
    return TokenDifference(prompt, at, list(expected[part]), list(found[part]), margin, limit)
