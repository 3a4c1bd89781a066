"""Reads what the `apr` program prints: JSON that is not quite JSON, dialogue, banners. Never trusts an exit status."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pytest_aprqa.engines.errors import EngineError

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RUST_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}")
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{0,15})?)"
_SPEED = re.compile(rf"(?:tok/s:\s*{_NUMBER})|(?:{_NUMBER} tok/s)")
_DURATION = re.compile(rf"Completed in {_NUMBER}(m?s)")
SPEED_KEYS = ("tok_s", "tok_per_sec", "throughput_tps", "tokens_per_second", "throughput_tok_s")


@dataclass(frozen=True, slots=True)
class RunOutput:
    """Of `apr run --json`: ids are those of the answer, of the prompt only the count is told."""

    text: str
    new_ids: list[int] | None
    prompt_tokens: int | None
    finish_reason: str | None
    tokens_per_second: float | None
    backend: Backend | None
    status: str | None
    error: str | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Backend:
    """Which backend was asked for and which one ran."""

    requested: str
    ran: str
    fell_back: bool


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One answer of `apr chat`. Ids are not told."""

    text: str
    tokens: int | None
    backend: Backend | None


def plain(text: str) -> str:
    """Without terminal colours."""
    return _COLOUR.sub("", text)


def json_of(stdout: str) -> dict[str, Any]:
    """The last JSON object that begins a line of the output. EngineError when there is none.

    The program writes some JSON by hand: Rust escapes and bare NaN are taken.
    """
    text = _RUST_ESCAPE.sub(lambda match: json.dumps(chr(min(int(match[1], 16), 0x10FFFF)))[1:-1], plain(stdout))
    decoder = json.JSONDecoder(strict=False)
    found: dict[str, Any] | None = None
    position = 0
    while (start := _object_start(text, position)) is not None:
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
            continue
        if isinstance(value, dict):
            found = value
    if found is None:
        raise EngineError(f"apr printed no JSON object: {plain(stdout).strip()[:120]!r}")
    return found


def _object_start(text: str, position: int) -> int | None:
    match = re.compile(r"^\{", re.MULTILINE).search(text, position)
    return match.start() if match else None


def parse_run(stdout: str) -> RunOutput:
    """Of `run --json`. EngineError where text is missing or a field has another type than 0.72.3 gives it."""
    fields = json_of(stdout)
    text, ids = fields.get("text"), fields.get("tokens")
    if not isinstance(text, str):
        raise EngineError(f"apr run: no text in the answer, keys {sorted(fields)[:12]}")
    if ids is not None and not (isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids)):
        raise EngineError(f"apr run: tokens: found {ids!r:.80}, a list of token ids is needed")
    error = fields.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    milliseconds = _finite(fields.get("inference_time_ms"))
    return RunOutput(
        text=text,
        new_ids=ids,
        prompt_tokens=_count(fields.get("prompt_tokens")),
        finish_reason=_word(fields.get("finish_reason")),
        tokens_per_second=speed_of(fields),
        backend=_backend(fields),
        status=_word(fields.get("status")),
        error=str(error) if error else None,
        seconds=None if milliseconds is None else milliseconds / 1000,
    )


def parse_text_run(stdout: str) -> str:
    """The answer of `run` without flags: the block between `Output:` and `Completed in`."""
    text = plain(stdout)
    begin = re.search(r"^Output:\n", text, re.MULTILINE)
    ends = list(re.finditer(r"\n\nCompleted in [0-9.]+m?s", text))
    end = ends[-1].start() if ends else -1
    if begin is None or end < begin.end() - 1:
        raise EngineError(f"apr run: no `Output:` block in {text.strip()[:120]!r}")
    return text[begin.end() : end]


def parse_chat(stdout: str) -> ChatTurn:
    """The one turn of `chat`. EngineError for a failed turn, `[Error: ...]`, and where there is no answer."""
    text = plain(stdout)
    begin = re.search(r"^(?:.*?)Assistant: ?", text, re.MULTILINE)
    if begin is None:
        failed = re.search(r"\[Error: .*?\]", text)
        raise EngineError(f"apr chat: {failed[0][:300] if failed else f'no answer in {text.strip()[-120:]!r}'}")
    end = re.search(r"\n\s*\nYou: |\nYou: ", text[begin.end() :])
    answer = text[begin.end() : begin.end() + end.start()] if end else text[begin.end() :]
    if answer.startswith("[Error: "):
        raise EngineError(f"apr chat: {answer[:300]}")
    counted = re.search(r"\[(\d+) tokens in ", text)
    try:
        backend = _backend(json_of(text[begin.end() :]))
    except EngineError:
        backend = None
    return ChatTurn(answer, int(counted[1]) if counted else None, backend)


def speed_of(output: str | dict[str, Any]) -> float | None:
    """Tokens per second that the program reports, from its JSON or its text; None where it tells none."""
    if isinstance(output, str):
        match = _SPEED.search(plain(output))
        return float(match[1] or match[2]) if match else None
    for place in (output, output.get("metrics"), output.get("timing")):
        if isinstance(place, dict):
            for key in SPEED_KEYS:
                if (speed := _finite(place.get(key))) is not None:
                    return speed
    return None


def duration_ms(stdout: str) -> float | None:
    """Of the line `Completed in 1.23s (cached)`, in milliseconds."""
    match = _DURATION.search(plain(stdout))
    return float(match[1]) * (1 if match[2] == "ms" else 1000) if match else None


def _backend(fields: dict[str, Any]) -> Backend | None:
    told = fields.get("backend")
    if not isinstance(told, dict) or not isinstance(told.get("ran"), str):
        return None
    return Backend(str(told.get("requested", "")), told["ran"], told.get("fell_back") is True)


def _finite(value: Any) -> float | None:
    """A number that the program tells; None for anything else, and for what is too large to be one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        return None
    return float(value)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
