"""What other programs print and servers answer."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from pytest_aprqa.engines.apr_output import duration_ms, parse_chat, parse_run, parse_text_run, speed_of
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
from pytest_aprqa.engines.url_engine import UrlEngine
from tests.fuzz import mutations
from tests.fuzz.record_targets import documents
from tests.fuzz.target import Seeds, Target

_RUN = {
    "text": " 4", "tokens": [19, 2], "prompt_tokens": 5, "finish_reason": "stop", "inference_time_ms": 12.5,
    "tok_per_sec": 80.5, "status": "ok", "backend": {"requested": "gpu", "ran": "cpu", "fell_back": True},
    "timing": {"tok_s": 80}, "error": None,
}  # fmt: skip
_CHAT = b'Model: x\n\nYou: Assistant: It is 4.\n[7 tokens in 0.1s]\n{"backend": {"ran": "cpu"}}\n\nYou: '
_TEXT = b"Loading\nOutput:\nIt is 4.\n\nCompleted in 1.25s (cached)\n12.5 tok/s\n"
_CHOICE = {"index": 0, "text": " 4", "finish_reason": "stop", "token_ids": [1, 2], "prompt_token_ids": [3]}
_ANSWER = {"id": "x", "choices": [_CHOICE], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


def _printed(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def _read_run(path: Path) -> None:
    told = parse_run(_printed(path))
    assert isinstance(told.finish_reason, str | None)
    assert isinstance(told.status, str | None)
    for number in (told.seconds, told.tokens_per_second):
        assert number is None or math.isfinite(number)


def _read_texts(path: Path) -> None:
    text = _printed(path)
    duration_ms(text)
    speed_of(text)
    refusals = []
    for parse in (parse_text_run, parse_chat):
        try:
            parse(text)
        except EngineError as error:
            refusals.append(error)
    if len(refusals) == 2:
        raise refusals[0]


@functools.cache
def _engine() -> tuple[UrlEngine, list[bytes]]:
    """An engine whose server answers with the bytes in the list."""
    body = [b""]
    engine = UrlEngine("http://server.invalid")
    engine._client = httpx.Client(
        base_url="http://server.invalid", transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body[0]))
    )
    engine._description = EngineDescription("url", "1", "cpu", "not told", 0, {})
    return engine, body


class _Answers:
    """In the place of the HTTP client, whose requests and cookies take most of the time: answers of its real kind."""

    def __init__(self) -> None:
        self.body = b""

    @contextmanager
    def stream(self, *request: str, json: object) -> Iterator[httpx.Response]:
        yield httpx.Response(200, content=self.body)


@functools.cache
def _engine_without_client() -> tuple[UrlEngine, _Answers]:
    engine, client = UrlEngine("http://server.invalid"), _Answers()
    engine._client = client  # type: ignore[assignment]
    engine._description = EngineDescription("url", "1", "cpu", "not told", 0, {})
    return engine, client


def _answered(path: Path, streamed: bool) -> None:
    engine, body = _engine()
    body[0] = path.read_bytes()
    _ask(engine, streamed)


def _parsed(streamed: bool) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        engine, client = _engine_without_client()
        client.body = path.read_bytes()
        _ask(engine, streamed)

    return read


def _ask(engine: UrlEngine, streamed: bool) -> None:
    sink = (lambda text, ids: None) if streamed else None
    (result,) = engine.generate([GenerationRequest("k", "2+2=")], lambda *_: None, sink)
    if result.error is not None:
        raise EngineError(result.error)
    _check(result)


def _read_answer(path: Path) -> None:
    _answered(path, streamed=False)


def _read_stream(path: Path) -> None:
    _answered(path, streamed=True)


def _check(result: GenerationResult) -> None:
    """The fields have the types that the rest of the suite takes for granted."""
    assert isinstance(result.text, str)
    assert isinstance(result.finish_reason, str)
    for ids in (result.prompt_ids, result.new_ids):
        assert ids is None or all(type(one) is int for one in ids)


def _stream_seeds() -> Seeds:
    chunks = [{"choices": [{**_CHOICE, "text": text}]} for text in (" It", " is", " 4")]
    lines = [
        b"data: " + json.dumps(chunk).encode() for chunk in [*chunks, {"choices": [], "usage": {"prompt_tokens": 1}}]
    ]
    data = b"\n\n".join([*lines, b"data: [DONE]"]) + b"\n\n"
    return {"stream": (data, mutations.stream([*chunks, _ANSWER]))}


def _text_seeds() -> Seeds:
    return {"chat": (_CHAT, mutations.lines), "text": (_TEXT, mutations.lines)}


ENGINE_TARGETS = {
    "apr-run": Target("run.txt", documents(_RUN), _read_run),
    "apr-text": Target("text.txt", _text_seeds, _read_texts),
    "answer": Target("answer.json", documents(_ANSWER), _read_answer, parser=_parsed(streamed=False)),
    "stream": Target("stream.txt", _stream_seeds, _read_stream, parser=_parsed(streamed=True)),
}
