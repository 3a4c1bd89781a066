"""Log-probabilities that a server tells, beside the log-softmax of known logits at the same positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.engines.protocol import TokenChoice, TokenLogprob
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

# The margin of a type is three standard deviations of the difference of two values, or 4.2 of one: half of it is 2.1
# times what the root mean square of a sound file's values is.
SHARE_OF_MARGIN = 0.5


class TokenNames:
    """Which token a told text or its bytes names; texts that several tokens write, or none, name none."""

    def __init__(self, tokenizer: TokenizerDeclaration) -> None:
        from pytest_aprqa.models.token_bytes import token_bytes

        self._tokens = tokenizer.tokens
        self._by_bytes: dict[bytes, list[int]] = {}
        self._by_text: dict[str, list[int]] = {}
        for token in range(len(tokenizer.tokens)):
            data = token_bytes(tokenizer, token)
            self._by_bytes.setdefault(data, []).append(token)
            # Servers that tell no bytes leave half a character out, or write a sign for it.
            for text in {data.decode("utf-8", errors=way) for way in ("ignore", "replace")}:
                self._by_text.setdefault(text, []).append(token)

    def ids(self, told: TokenLogprob) -> list[int]:
        """All tokens that are called so."""
        if told.bytes is not None:
            return self._by_bytes.get(bytes(told.bytes), [])
        return self._by_text.get(told.text, [])

    def id(self, told: TokenLogprob) -> int | None:
        """The one token that is called so, None where there is none or more than one."""
        ids = self.ids(told)
        return ids[0] if len(ids) == 1 else None

    def name(self, token: int) -> str:
        """What a token is called in a message."""
        return repr(self._tokens[token]) if token < len(self._tokens) else f"id {token}"


@dataclass(slots=True)
class ToldDistance:
    """How far told values are from the known ones; natural logarithms, told minus known.

    `worst`: (position, token, told, known). `mistaken`: a position whose chosen or best tokens are others than known.
    """

    positions: int = 0
    values: int = 0
    squares: float = 0.0
    worst: tuple[int, int, float, float] | None = None
    mistaken: list[str] = field(default_factory=list)

    @property
    def rms(self) -> float:
        """Root of the mean square of the differences, nats."""
        return math.sqrt(self.squares / self.values) if self.values else 0.0

    def add(self, position: int, token: int, told: float, known: float) -> None:
        """One value."""
        self.values += 1
        self.squares += (told - known) ** 2
        if self.worst is None or abs(told - known) > abs(self.worst[2] - self.worst[3]):
            self.worst = (position, token, told, known)


def compare_told(
    choices: Sequence[TokenChoice], ids: Sequence[int], logits: Any, names: TokenNames, margin: float, best: int
) -> ToldDistance:
    """Of the answer IDS with LOGITS [ids, vocabulary]; values of tokens whose name is not theirs alone are left out.

    `best`: how many were asked for; a token of the answer may be told beside them.
    """
    from pytest_aprqa.engines.token_choices import log_softmax

    distance = ToldDistance()
    for at, (choice, answer, row) in enumerate(zip(choices, ids, log_softmax(logits), strict=False)):
        distance.positions += 1
        called = names.ids(choice.chosen)
        if called and answer not in called:
            distance.mistaken.append(f"position {at}: {choice.chosen.text!r}, the answer has {names.name(answer)}")
            continue
        distance.add(at, answer, choice.chosen.logprob, float(row[answer]))
        told = [(names.id(one), one.logprob) for one in choice.best]
        for token, value in told:
            if token is not None and token < len(row):
                distance.add(at, token, value, float(row[token]))
        known = {token for token, _ in told[:best] if token is not None}
        if len(known) == len(told[:best]) and known:
            _missing(distance, at, known, row, names, margin)
    return distance


def _missing(distance: ToldDistance, at: int, told: set[int], row: Any, names: TokenNames, margin: float) -> None:
    """A token that is likelier than one of those told as the best, by more than the noise."""
    least = min(float(row[token]) for token in told)
    for token in row.argsort()[::-1][: len(told)]:
        if int(token) not in told and row[token] - least > margin:
            distance.mistaken.append(
                f"position {at}: {names.name(int(token))} ({row[token]:.3g}) is not among the best {len(told)} told"
            )
            return


def answer_ids(choices: Sequence[TokenChoice], told: Sequence[int] | None, names: TokenNames) -> list[int]:
    """Ids of an answer: as the server tells them, else by the names of its tokens up to the first that says no id."""
    if told is not None:
        return list(told)
    ids = []
    for choice in choices:
        token = names.id(choice.chosen)
        if token is None:
            break
        ids.append(token)
    return ids
