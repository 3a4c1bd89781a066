"""The merging of llama.cpp's SentencePiece vocabularies, step for step: neighbours by the score of what they make.

The `tokenizers` library merges by ranks of pairs, so what llama.cpp does with a file's scores is computed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from pytest_aprqa.models.tokenizer import CONTROL, END_NAMES, UNKNOWN, USER_DEFINED, TokenizerDeclaration
from pytest_aprqa.models.tokenizer_build import SPACE

_WHITE = " \t\n\v\f\r"  # of the C locale
_SPECIAL = (CONTROL, USER_DEFINED, UNKNOWN)


class ScoredMerges:
    """Ids that llama.cpp gives for a declaration of kind "llama" (src/llama-vocab.cpp, MIT licence)."""

    def __init__(self, declaration: TokenizerDeclaration) -> None:
        self._declaration = declaration
        self._index = {token: number for number, token in enumerate(declaration.tokens)}
        self._scores = declaration.scores
        named = zip(declaration.tokens, declaration.token_types, strict=True)
        special = [token for token, kind in named if token and (kind in _SPECIAL or token in END_NAMES)]
        # Longer ones first, as bytes are counted: of two that begin alike the longer one is meant.
        ordered = sorted(special, key=lambda token: -len(token.encode("utf-8", "surrogatepass")))
        self._special = [re.compile(re.escape(token)) for token in ordered]

    def encode(self, text: str) -> list[int]:
        """Ids of TEXT with what the declaration puts around it; special tokens written in the text are parsed."""
        own = self._declaration
        ids = [own.bos_id] if own.add_bos and own.bos_id is not None else []
        begins = True
        for fragment, special in self._fragments(text):
            if special:
                ids.append(self._index[fragment])
            else:
                marked = (" " if own.add_space_prefix and begins else "") + fragment
                ids += self.merge(marked.replace(" ", SPACE))
            begins = special
        return [*ids, *([own.closing_id] if own.closing_id is not None else [])]

    def _fragments(self, text: str) -> list[tuple[str, bool]]:
        """(piece of the text, whether it is a special token) in order."""
        rows: list[tuple[str, bool]] = [(text, False)] if text else []
        for pattern in self._special:
            if any(not special and pattern.search(piece) for piece, special in rows):
                rows = [part for row in rows for part in _parted(pattern, row, self._declaration.stripped_behind)]
        return rows

    def merge(self, text: str) -> list[int]:
        """Ids of a text without special tokens, spaces marked already. KeyError: a byte has no token."""
        symbols = list(text)
        before, behind = list(range(-1, len(symbols) - 1)), [*range(1, len(symbols)), -1]
        queue: list[tuple[float, int, int, int]] = []

        def add(left: int, right: int) -> None:
            if left < 0 or right < 0:
                return
            made = self._index.get(symbols[left] + symbols[right])
            if made is not None:
                heappush(queue, (-self._scores[made], left, right, len(symbols[left]) + len(symbols[right])))

        for at in range(1, len(symbols)):
            add(at - 1, at)
        while queue:
            _, left, right, size = heappop(queue)
            if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != size:
                continue  # one of the two is part of another merge by now
            symbols[left] += symbols[right]
            symbols[right] = ""
            behind[left] = behind[right]
            if behind[right] >= 0:
                before[behind[right]] = left
            add(before[left], left)
            add(left, behind[left])
        return [number for symbol in symbols if symbol for number in self._ids(symbol)]

    def _ids(self, symbol: str) -> list[int]:
        known = self._index.get(symbol)
        return [known] if known is not None else [self._index[f"<0x{byte:02X}>"] for byte in symbol.encode("utf-8")]


def _parted(pattern: re.Pattern[str], row: tuple[str, bool], eaters: frozenset[str]) -> Iterator[tuple[str, bool]]:
    piece, special = row
    if special:
        yield row
        return
    at = 0
    while match := pattern.search(piece, at):
        if match.start() > at:
            yield piece[at : match.start()], False
        yield match.group(), True
        at = match.end()
        while match.group() in eaters and piece[at : at + 1] in _WHITE and at < len(piece):
            at += 1
    if at < len(piece):
        yield piece[at:], False


def texts_of_doubt(tokens: Sequence[str], special: Sequence[bool], merges: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Texts on which merging by scores can part from merging in the order of `merges`, spaces marked.

    Where merges of one token stand together, and its neighbours' symbols are the same, both ways do the same. They can
    part at a pair that only the scores merge, and where two pairs share a symbol and the two ways begin with another.
    """
    ranks: dict[tuple[str, str], int] = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    known = set(tokens)
    yield from (t for t, skip in zip(tokens, special, strict=True) if not skip and _has_other_pair(t, known, ranks))
    level: dict[str, int] = {}
    by_left: dict[str, list[tuple[int, str]]] = {}
    by_right: dict[str, list[tuple[int, str]]] = {}
    for rank, (left, right) in enumerate(merges):
        level.setdefault(left + right, rank)
        by_left.setdefault(left, []).append((rank, right))
        by_right.setdefault(right, []).append((rank, left))
    for rank, (left, right) in enumerate(merges):
        first = level[left + right]
        # By scores this pair comes at `first`, by ranks at `rank`: pairs of a rank between are first only by ranks.
        if rank > first:
            yield from (left + right + other for one, other in by_left.get(right, ()) if first <= one < rank)
            yield from (other + left + right for one, other in by_right.get(left, ()) if first <= one < rank)


def _has_other_pair(token: str, known: set[str], ranks: dict[tuple[str, str], int]) -> bool:
    for at in range(1, len(token)):
        left, right = token[:at], token[at:]
        if (at == 1 or left in known) and (at == len(token) - 1 or right in known) and (left, right) not in ranks:
            return True
    return False
