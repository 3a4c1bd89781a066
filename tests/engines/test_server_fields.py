"""Fields of a request that this server does not obey are refused, not forgotten; errors stay short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
from pytest_aprqa.engines.server import LONGEST_MESSAGE, NOT_OBEYED, ServerThread
from pytest_aprqa.models.artifact import Artifact
from tests.engines.misbehaving_engines import Behaves

WHOLE, CHAT = "/v1/completions", "/v1/chat/completions"
GOOD: dict[str, Any] = {"prompt": "a", "max_tokens": 1}


class CountsTokens(Behaves):
    """As many tokens as asked for; the architecture is the name of the loaded file."""

    architecture = "first"

    def load(self, artifact: Artifact, progress: Any) -> Any:
        self.architecture = artifact.path.stem
        return self.describe()

    def describe(self) -> Any:
        from dataclasses import replace

        return replace(super().describe(), details={"architecture": self.architecture})

    def answer(self, request: GenerationRequest) -> GenerationResult:
        ids = list(range(request.max_new_tokens))
        return GenerationResult(request.key, "a" * len(ids), [1], ids, "length", 0.001)


@pytest.fixture(scope="module")
def engine() -> CountsTokens:
    return CountsTokens()


@pytest.fixture(scope="module")
def client(engine: CountsTokens) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ServerThread(engine).url, timeout=20) as client:
        yield client


def message_of(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("best_of", 3),
        ("echo", True),
        ("top_k", 1),
        ("suffix", "x"),
        ("tools", [{}]),
        ("logit_bias", {"1": 5}),
        ("presence_penalty", 0.001),
        ("frequency_penalty", -0.001),
        ("response_format", {"type": "json_object"}),
    ],
)
def test_field_that_would_change_the_answer_is_refused(client: httpx.Client, field: str, value: Any) -> None:
    for path, body in ((WHOLE, GOOD), (CHAT, {"messages": [{"role": "user", "content": "a"}]})):
        assert message_of(client.post(path, json=body | {field: value}), 400).startswith(f"{field}: found ")


@pytest.mark.parametrize(("field", "value"), [("stop", "2"), ("stop", ["\n"]), ("top_p", 0.999)])
def test_what_the_engine_does_not_obey_is_refused_and_what_it_obeys_is_not(
    client: httpx.Client, engine: CountsTokens, monkeypatch: pytest.MonkeyPatch, field: str, value: Any
) -> None:
    refusal = f"{field}: this server's engine does not obey it, leave it out"
    assert message_of(client.post(WHOLE, json=GOOD | {field: value}), 400) == refusal
    monkeypatch.setattr(engine, "obeys", {field}, raising=False)
    assert client.post(WHOLE, json=GOOD | {field: value}).status_code == 200
    for neutral in (None, [] if field == "stop" else 1):
        assert client.post(WHOLE, json=GOOD | {field: neutral}).status_code == 200


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("top_p", [1e-6, 1, 1.0], [0, -0.1, 1.000001, "1", True, [1]]),
        ("stop", ["x", ["a", "b", "c", "d"], "x" * 256], ["", [""], list("abcde"), 3, [3], "x" * 257, {}]),
    ],
)
def test_limits_of_what_an_engine_obeys(
    client: httpx.Client,
    engine: CountsTokens,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    allowed: list[Any],
    refused: list[Any],
) -> None:
    monkeypatch.setattr(engine, "obeys", {"top_p", "stop"}, raising=False)
    for value in allowed:
        assert client.post(WHOLE, json=GOOD | {field: value}).status_code == 200, value
    for value in refused:
        assert message_of(client.post(WHOLE, json=GOOD | {field: value}), 400).startswith(f"{field}: found "), value


def test_values_that_ask_for_nothing_are_accepted(client: httpx.Client) -> None:
    assert client.post(WHOLE, json=GOOD | dict.fromkeys(NOT_OBEYED)).status_code == 200
    for name, values in NOT_OBEYED.items():
        for value in values:
            assert client.post(WHOLE, json=GOOD | {name: value}).status_code == 200, name
    harmless = {"user": "me", "metadata": {"a": "b"}, "stream_options": {"include_usage": True}}
    assert client.post(WHOLE, json=GOOD | harmless).status_code == 200


@pytest.mark.parametrize("value", ["no", "false", 0, 1, []])
def test_stream_is_true_or_false_and_nothing_else(client: httpx.Client, value: Any) -> None:
    assert message_of(client.post(WHOLE, json=GOOD | {"stream": value}), 400).startswith("stream: found ")


def test_both_names_of_the_token_limit(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 3}
    assert client.post(CHAT, json=body).json()["usage"]["completion_tokens"] == 3
    assert client.post(CHAT, json=body | {"max_tokens": 2}).json()["usage"]["completion_tokens"] == 2
    assert "max_tokens" in message_of(client.post(CHAT, json=body | {"max_completion_tokens": 0}), 400)


@pytest.mark.parametrize("field", ["model", "max_tokens", "temperature", "seed", "stop", "stream"])
def test_long_values_make_no_long_errors(client: httpx.Client, field: str) -> None:
    response = client.post(WHOLE, json=GOOD | {field: "x" * 1_000_000})
    assert response.status_code in (400, 404)
    assert len(response.json()["error"]["message"]) < 300
    response = client.get("/" + "x" * 3000)
    assert response.status_code == 404
    assert len(response.json()["error"]["message"]) <= LONGEST_MESSAGE


def test_server_names_the_model_that_is_loaded_now(client: httpx.Client, engine: CountsTokens) -> None:
    engine.load(Artifact("gguf", Path("second.gguf"), "published", ""), lambda *event: None)
    assert client.get("/v1/models").json()["data"][0]["id"] == "second"
    assert client.post(WHOLE, json=GOOD | {"model": "second"}).status_code == 200
    assert client.post(WHOLE, json=GOOD | {"model": "first"}).status_code == 404
