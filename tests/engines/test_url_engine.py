"""A server that answers badly is an error of one prompt in one line, with the key blacked out; nothing hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.engines.engine_key import KEY_VARIABLE, key_headers, without_key
from pytest_aprqa.engines.errors import EngineUnavailable
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.url_engine import NEUTRAL, UrlEngine
from pytest_aprqa.models.artifact import Artifact
from tests.http_stand_in import StandIn, serving

ARTIFACT = Artifact("gguf", Path("somewhere"), "published", "0" * 64)
GOOD = {"choices": [{"text": "four", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
# prompt -> (status, body)
BAD: dict[str, tuple[int, bytes]] = {
    "not json": (200, b"<html>"),
    "a list": (200, b"[1]"),
    "no choices": (200, b'{"choices": []}'),
    "no text": (200, b'{"choices": [{"index": 0}]}'),
    "error": (500, b'{"error":\n "it broke"}'),
    "refused": (400, b'{"error": "too long"}'),
    "moved": (302, b""),
    "huge": (200, b" " * (17 << 20)),
}
GOOD_STREAM = (
    b'data: {"choices": [{"text": "fo", "token_ids": [1]}]}\n\n'
    b'data: {"choices": [{"text": "ur", "token_ids": [2], "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
STREAMS: dict[str, bytes] = {
    "cut": b'data: {"choices": [{"text": "a"}]}\n\n',
    "no json": b"data: {broken\n\n",
    "error inside": b'data: {"error": "it broke"}\n\n',
}


class Server(StandIn):
    strict = frozenset()  # fields that it refuses

    def do_GET(self) -> None:
        self.answer(200, b'{"data": [{"id": "m"}], "status": "ok", "version": "7", "compute_mode": "cpu"}')

    def do_POST(self) -> None:
        body = json.loads(self.body())
        if self.path == "/extras/tokenize":
            self.answer(200, b'{"tokens": [4, 5]}')
        elif self.path != "/v1/completions":
            self.answer(404, b'{"error": "no such route"}')
        elif self.strict & set(body):
            self.answer(422, b'{"error": "unknown field"}')
        elif body.get("stream"):
            self.answer(200, STREAMS.get(body["prompt"], GOOD_STREAM))
        else:
            status, data = BAD.get(body["prompt"], (200, json.dumps(GOOD).encode()))
            self.answer(status, data, location="/elsewhere")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[UrlEngine]:
    handler = type("Handler", (Server,), {"strict": getattr(request, "param", frozenset())})
    with serving(handler) as server:
        engine = UrlEngine(server.url)
        engine.load(ARTIFACT, _nothing)
        yield engine
        engine.close()


def _nothing(*event: object) -> None:
    pass


def ask(engine: UrlEngine, prompt: str, **fields: Any) -> Any:
    (result,) = engine.generate([GenerationRequest("k", prompt, **fields)], _nothing)
    return result


def test_good_answer_and_what_the_server_tells_of_itself(engine: UrlEngine) -> None:
    result = ask(engine, "fine")
    assert (result.text, result.finish_reason, result.prompt_ids, result.prompt_length) == ("four", "stop", None, 3)
    assert (result.new_ids, result.new_length) == (None, 1)
    description = engine.describe()
    assert (description.version, description.backend, description.details["model"]) == ("7", "cpu", "m")
    assert description.details["logprobs"] == []
    assert engine.encode("text") == [4, 5]
    assert engine.serve() == description.details["url"]


@pytest.mark.parametrize(
    "engine",
    [frozenset(), frozenset({"repeat_penalty", "top_k", "min_p"}), frozenset({"top_k"}), frozenset(NEUTRAL)],
    ids=["all", "of-the-interface", "one-is-unknown", "none"],
    indirect=True,
)
def test_neutral_fields_are_sent_only_where_they_are_taken(engine: UrlEngine, request: Any) -> None:
    refused = request.node.callspec.params["engine"]
    taken = {name: value for name, value in NEUTRAL.items() if name not in refused}
    assert engine.describe().details["neutral_fields"] == taken
    assert ask(engine, "fine").text == "four"


@pytest.mark.parametrize("prompt", BAD)
def test_bad_answers_are_errors_of_their_prompt(engine: UrlEngine, prompt: str) -> None:
    result = ask(engine, prompt)
    assert result.error.startswith("server: POST /v1/completions: ")
    assert "\n" not in result.error
    assert len(result.error) < 400
    assert ask(engine, "fine").error is None


@pytest.mark.parametrize("prompt", STREAMS)
def test_bad_streams_are_errors(engine: UrlEngine, prompt: str) -> None:
    pieces: list[Any] = []
    (result,) = engine.generate([GenerationRequest("k", prompt)], _nothing, lambda *piece: pieces.append(piece))
    assert result.error is not None
    (good,) = engine.generate([GenerationRequest("k", "fine")], _nothing, lambda *piece: pieces.append(piece))
    assert (good.text, good.new_ids, good.finish_reason) == ("four", [1, 2], "stop")
    assert pieces[-2:] == [("fo", [1]), ("ur", [2])]


def test_nobody_there_and_wrong_routes() -> None:
    engine = UrlEngine("http://127.0.0.1:9")
    with pytest.raises(EngineUnavailable, match="no server at http://127"):
        engine.load(ARTIFACT, _nothing)
    with pytest.raises(EngineUnavailable, match="logits"):
        engine.logits([1])


def test_chat_of_a_server_without_that_route_is_refused(engine: UrlEngine) -> None:
    assert "status 404" in ask(engine, "x", mode="chat").error


@pytest.mark.parametrize(("key", "expected"), [("k1", {"Authorization": "Bearer k1"}), ("", {}), ("  ", {})])
def test_key_goes_into_a_header_and_out_of_texts(monkeypatch: pytest.MonkeyPatch, key: str, expected: Any) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert key_headers() == expected
    assert without_key("with k1 in it") == ("with [key] in it" if key == "k1" else "with k1 in it")
