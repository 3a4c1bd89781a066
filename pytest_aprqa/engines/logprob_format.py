"""Log-probabilities as the OpenAI interface writes them: lists beside each other in completions, objects in chat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.protocol import TokenChoice, TokenLogprob

SHOWN = 80  # characters of a value that is none
LEAST = -9999.0  # what the interface says of a token that cannot be


class CompletionLogprobs:
    """The `logprobs` of completions, piece by piece; `offset` is how many characters stand before the answer."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._bytes = b""

    def piece(self, choices: Sequence[TokenChoice]) -> dict[str, list[Any]]:
        """The lists of the next tokens. The chosen one is among the best always, as the interface wants it."""
        offsets = []
        for choice in choices:
            offsets.append(self._offset + len(self._bytes.decode("utf-8", errors="ignore")))
            self._bytes += bytes(choice.chosen.bytes or [])
        best = []
        for choice in choices:
            named: dict[str, float] = {}
            for one in (*choice.best, choice.chosen):  # of tokens with one text the likeliest
                named.setdefault(_name(one), _finite(one.logprob))
            best.append(named)
        return {
            "tokens": [_name(choice.chosen) for choice in choices],
            "token_logprobs": [_finite(choice.chosen.logprob) for choice in choices],
            "top_logprobs": best,
            "text_offset": offsets,
        }


def chat_logprobs(choices: Sequence[TokenChoice]) -> dict[str, Any]:
    """The `logprobs` of a chat answer, or of a piece of it."""
    content = [_object(one.chosen) | {"top_logprobs": [_object(other) for other in one.best]} for one in choices]
    return {"content": content, "refusal": None}


def parsed_logprobs(value: Any) -> list[TokenChoice]:
    """The choices that `logprobs` of either interface tells; none for null. EngineError: it has another shape."""
    if value is None:
        return []
    try:
        if "content" in value:
            return [
                TokenChoice(_of_object(one), [_of_object(other) for other in one.get("top_logprobs") or []])
                for one in value["content"] or []
            ]
        return _of_lists(value)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise EngineError(f"server: logprobs: found {value!r:.{SHOWN}}, not the shape of the interface") from None


def _of_lists(value: dict[str, Any]) -> list[TokenChoice]:
    tokens = value["tokens"]
    best = value.get("top_logprobs") or [{}] * len(tokens)
    choices = []
    for name, logprob, others in zip(tokens, value["token_logprobs"], best, strict=True):
        named = sorted((others or {}).items(), key=lambda one: -one[1])
        choices.append(TokenChoice(_told(name, logprob), [_told(*one) for one in named]))
    return choices


def _told(text: Any, logprob: Any, data: Any = None) -> TokenLogprob:
    if not isinstance(text, str) or isinstance(logprob, bool) or not math.isfinite(logprob):
        raise ValueError(text)
    if data is None and text.startswith("bytes:"):
        data = list(text.removeprefix("bytes:").encode("latin-1").decode("unicode_escape").encode("latin-1"))
    return TokenLogprob(text, float(logprob), bytes=list(bytes(data)) if data is not None else None)


def _of_object(value: Any) -> TokenLogprob:
    return _told(value["token"], value["logprob"], value.get("bytes"))


def _object(told: TokenLogprob) -> dict[str, Any]:
    return {"token": _name(told), "logprob": _finite(told.logprob), "bytes": told.bytes}


def _finite(logprob: float) -> float:
    return max(logprob, LEAST)


def _name(told: TokenLogprob) -> str:
    """The text of a token; of one that writes no text, its bytes as the interface writes them."""
    data = bytes(told.bytes or [])
    try:
        return data.decode("utf-8") if told.bytes is not None else told.text
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
