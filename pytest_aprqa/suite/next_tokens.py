"""What an engine may say next and how likely it is: by token id, or by text where an engine tells no ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.suite.parity import ask_once

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration
    from pytest_aprqa.run_state import RunState

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
LOGITS_FROM = "torch"
OUTSIDE = ("url", "apr")  # somebody else's programs, which compute logits and do not tell them


@dataclass(frozen=True, slots=True)
class NextLogits:
    """Logits of the token after each prompt, float32 (vocabulary,) or rows of them, and which engine computed them."""

    rows: list[Any]
    computed_by: str


def next_logits(engine: LoadedEngine, state: RunState, prompts: Sequence[Sequence[int]]) -> NextLogits:
    """The engine's own logits; of an outside one, which tells none, those of the torch engine over the same file.

    EngineUnavailable for every other engine without logits; errors of both engines.
    """
    known = logits_after(engine, state, [(list(ids), len(ids) - 1) for ids in prompts])
    return NextLogits([rows[0] for rows in known.rows], known.computed_by)


def logits_after(engine: LoadedEngine, state: RunState, sequences: Sequence[tuple[list[int], int]]) -> NextLogits:
    """Of each (ids, first position) float32 (ids from there on, vocabulary), teacher-forced. As `next_logits`."""

    def compute() -> NextLogits:
        from pytest_aprqa.engines.errors import EngineUnavailable

        try:
            return NextLogits([engine.logits(ids)[first:] for ids, first in sequences], engine.description.name)
        except EngineUnavailable:
            if engine.description.name not in OUTSIDE:
                raise
            return NextLogits(_of_torch(engine, state, sequences), LOGITS_FROM)

    return ask_once(engine, f"next-logits-{sequences}", compute)


def _of_torch(engine: LoadedEngine, state: RunState, sequences: Sequence[tuple[list[int], int]]) -> list[Any]:
    from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR
    from pytest_aprqa.engines.host import EngineHost

    with EngineHost(LOGITS_FROM, threads=state.pool.threads) as host:
        host.load(engine.model.artifact(engine.format), timeout_s=engine.timeout_s * LOAD_TIMEOUT_FACTOR)
        return [host.logits(ids, timeout_s=engine.timeout_s, first=first).copy() for ids, first in sequences]


class Outcomes:
    """The outcomes that draws are sorted into: token ids, or texts, each of which several tokens may write.

    Texts are compared without spaces around them; tokens that end an answer, are not shown, or hold half a character
    are one outcome without text.
    """

    def __init__(self, tokenizer: TokenizerDeclaration, vocabulary: int, *, by_text: bool) -> None:
        self.by_text = by_text
        if by_text:
            texts = [_text_of(tokenizer, i) for i in range(vocabulary)]
            self.names = sorted(set(texts))
            self._numbers = {name: number for number, name in enumerate(self.names)}
            self._of_token = [self._numbers[text] for text in texts]
        else:
            known = tokenizer.tokens
            self.names = [known[i] if i < len(known) else f"id {i}" for i in range(vocabulary)]
            self._numbers, self._of_token = {}, []

    def likely(self, weights: Any) -> Any:
        """float64 probability of each outcome, of probabilities of the tokens."""
        import numpy

        if not self.by_text:
            return weights
        return numpy.bincount(self._of_token, weights=weights[: len(self._of_token)], minlength=len(self.names))

    def counted(self, drawn: Sequence[tuple[Sequence[int] | None, str]]) -> Counter[int]:
        """How often each outcome came, of (new ids, text) of answers of one token; -1 for what no token writes."""
        if not self.by_text:
            return Counter(ids[0] if ids else -1 for ids, _ in drawn)
        return Counter(self._numbers.get(_shown(text), -1) for _, text in drawn)

    def name(self, number: int) -> str:
        """What an outcome is called in a message."""
        return self.names[number] if 0 <= number < len(self.names) else "something that no token writes"


def _text_of(tokenizer: TokenizerDeclaration, token: int) -> str:
    if token in tokenizer.end_ids or token >= len(tokenizer.tokens):
        return ""
    return _shown(tokenizer.decode([token], skip_special=True))


def _shown(text: str) -> str:
    return "" if HALF_A_CHARACTER in text else text.strip()
