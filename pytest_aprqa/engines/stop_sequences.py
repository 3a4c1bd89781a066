"""Texts that end an answer: where they begin is cut, and what might be their beginning is not shown yet."""

from __future__ import annotations

from collections.abc import Sequence


class StopSequences:
    """The stop texts of one request; without any every text passes whole."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def found(self, text: str) -> bool:
        """Whether one of them is in TEXT."""
        return any(stop in text for stop in self._texts)

    def cut(self, text: str) -> str:
        """TEXT up to where the first of them begins."""
        begins = [at for stop in self._texts if (at := text.find(stop)) >= 0]
        return text[: min(begins)] if begins else text

    def settled(self, text: str) -> str:
        """The part of TEXT that stays whatever follows: up to a stop text, or to what may become one."""
        cut = self.cut(text)
        if cut != text:
            return cut
        ends = (n for stop in self._texts for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n]))
        return text[: len(text) - max(ends, default=0)]
