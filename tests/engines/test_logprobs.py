"""Log-probabilities of the torch engine and of the server before it: its own logits, in the interface's own shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("torch")

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import MOST_LOGPROBS, GenerationRequest, GenerationResult
from pytest_aprqa.engines.server import ServerThread
from pytest_aprqa.engines.token_choices import log_softmax, token_choice
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.models.artifact import describe_artifact
from pytest_aprqa.models.bundled import bundled_folder

PROMPT, OTHER = "def add(a, b):", "What is 2+2?"
WHOLE, CHAT = "/v1/completions", "/v1/chat/completions"
TURN = [{"role": "user", "content": OTHER}]
NEAR = 1e-4  # nats, float32: step by step with a cache, and all positions at once
ARTIFACT = describe_artifact(bundled_folder() / "models" / "tiny-qwen2", "safetensors")


def nothing(*event: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    engine = TorchEngine(threads=1)
    engine.load(ARTIFACT, nothing)
    return engine


@pytest.fixture(scope="module")
def client(engine: TorchEngine) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ServerThread(engine).url, timeout=60) as client:
        yield client


def rows_of(engine: TorchEngine, result: GenerationResult) -> Any:
    prompt, new = result.prompt_ids or [], result.new_ids or []
    return log_softmax(engine.logits([*prompt, *new], first=len(prompt) - 1))[: len(new)]


def test_each_new_token_is_told_with_the_best_ones_of_its_row(engine: TorchEngine) -> None:
    requests = [
        GenerationRequest("a", PROMPT, max_new_tokens=6, logprobs=5),
        GenerationRequest("b", OTHER, max_new_tokens=4, logprobs=0),
        GenerationRequest("c", OTHER, max_new_tokens=4),
        GenerationRequest("d", OTHER, max_new_tokens=6, logprobs=MOST_LOGPROBS, temperature=3.0, seed=5),
    ]
    results = engine.generate(requests, nothing)
    assert results[2].logprobs is None
    for request, result in zip(requests, results, strict=True):
        if request.logprobs is None:
            continue
        told = result.logprobs or []
        assert [one.chosen.id for one in told] == result.new_ids
        for row, one in zip(rows_of(engine, result), told, strict=True):
            best = np.argsort(-row, kind="stable")[: request.logprobs]
            assert [other.id for other in one.best] == best.tolist()
            values = [row[one.chosen.id], *row[best]]
            assert [one.chosen.logprob, *(other.logprob for other in one.best)] == pytest.approx(values, abs=NEAR)
    assert "".join(one.chosen.text for one in results[0].logprobs or []).startswith(results[0].text)


def test_it_crosses_the_pipe_of_the_host() -> None:
    with EngineHost("torch", threads=1) as host:
        host.load(ARTIFACT, 120)
        requests = [GenerationRequest("a", PROMPT, max_new_tokens=2, logprobs=2), GenerationRequest("b", PROMPT)]
        told, untold = host.generate(requests, 120)
    assert untold.logprobs is None
    assert [len(one.best) for one in told.logprobs or []] == [2, 2]
    assert bytes((told.logprobs or [])[0].best[0].bytes or []).decode() == (told.logprobs or [])[0].best[0].text


def test_completions_tell_them_as_lists(client: httpx.Client, engine: TorchEngine) -> None:
    body = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0}
    plain, choice = (
        client.post(WHOLE, json=body | more).json()["choices"][0] for more in ({"logprobs": None}, {"logprobs": 3})
    )
    assert "logprobs" not in plain
    assert plain["token_ids"] == choice["token_ids"]
    told = choice["logprobs"]
    assert set(told) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert "".join(told["tokens"]).startswith(choice["text"])
    lengths = np.cumsum([0, *(len(text) for text in told["tokens"][:-1])])
    assert told["text_offset"] == (len(PROMPT) + lengths).tolist()
    rows = log_softmax(engine.logits(choice["prompt_token_ids"] + choice["token_ids"]))
    rows = rows[len(choice["prompt_token_ids"]) - 1 : -1]
    for row, token, text, value, best in zip(
        rows, choice["token_ids"], told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
    ):
        assert value == pytest.approx(row[token], abs=NEAR)
        assert best[text] == value
        assert sorted(best.values(), reverse=True)[:3] == pytest.approx(np.sort(row)[::-1][:3], abs=NEAR)
        assert len(best) in (3, 4)


def test_chat_tells_them_as_objects(client: httpx.Client, engine: TorchEngine) -> None:
    body = {"messages": TURN, "max_tokens": 4, "temperature": 1.7, "seed": 3, "logprobs": True}
    answers = [client.post(CHAT, json=body | more).json()["choices"][0] for more in ({}, {"top_logprobs": 4})]
    for choice, count in zip(answers, (0, 4), strict=True):
        content = choice["logprobs"]["content"]
        assert [len(one["top_logprobs"]) for one in content] == [count] * len(choice["token_ids"])
        rows = log_softmax(engine.logits(choice["prompt_token_ids"] + choice["token_ids"]))
        rows = rows[len(choice["prompt_token_ids"]) - 1 : -1]
        for row, token, one in zip(rows, choice["token_ids"], content, strict=True):
            assert one["logprob"] == pytest.approx(row[token], abs=NEAR)  # not of the logits over 1.7
            assert bytes(one["bytes"]).decode(errors="replace") == one["token"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (WHOLE, {"prompt": PROMPT, "logprobs": 2}),
        (CHAT, {"messages": TURN, "logprobs": True, "top_logprobs": 2}),
    ],
    ids=["completions", "chat"],
)
def test_a_stream_tells_the_same(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    body |= {"max_tokens": 6, "temperature": 0}
    whole = client.post(path, json=body).json()["choices"][0]["logprobs"]
    pieces: list[dict[str, Any]] = []
    with client.stream("POST", path, json=body | {"stream": True}) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                pieces += [one["logprobs"] for one in json.loads(line[6:])["choices"] if "logprobs" in one]
    assert len(pieces) > 1
    for name in ("content",) if path == CHAT else ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [one for piece in pieces for one in piece[name]] == whole[name]


@pytest.mark.parametrize("value", [0, 1, MOST_LOGPROBS, False, None])
def test_counts_inside_the_limit(client: httpx.Client, value: Any) -> None:
    body = {"prompt": PROMPT, "max_tokens": 1}
    assert client.post(WHOLE, json=body | {"logprobs": value}).status_code == 200
    chat = {"messages": TURN, "max_tokens": 1, "logprobs": True}
    assert client.post(CHAT, json=chat | {"top_logprobs": value or 0}).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (WHOLE, {"logprobs": -1}),
        (WHOLE, {"logprobs": MOST_LOGPROBS + 1}),
        (WHOLE, {"logprobs": True}),
        (WHOLE, {"logprobs": "5"}),
        (WHOLE, {"top_logprobs": 5}),
        (CHAT, {"logprobs": 5}),
        (CHAT, {"logprobs": True, "top_logprobs": MOST_LOGPROBS + 1}),
        (CHAT, {"logprobs": True, "top_logprobs": -1}),
        (CHAT, {"top_logprobs": 5}),
    ],
)
def test_counts_outside_it_are_refused_by_name(client: httpx.Client, path: str, fields: dict[str, Any]) -> None:
    body = {"max_tokens": 1} | ({"messages": TURN} if path == CHAT else {"prompt": PROMPT})
    answer = client.post(path, json=body | fields)
    assert answer.status_code == 400
    name = list(fields)[-1]
    assert answer.json()["error"]["message"].startswith(f"{name}: found {fields[name]!r}")


@pytest.mark.parametrize(
    ("count", "sound"), [(0, True), (MOST_LOGPROBS, True), (-1, False), (MOST_LOGPROBS + 1, False)]
)
def test_a_count_outside_its_limit_reaches_no_engine(count: int, sound: bool) -> None:
    problem = GenerationRequest("k", "p", logprobs=count).problem
    assert (problem is None) is sound
    assert sound or str(problem).startswith(f"logprobs: found {count}")


def test_equal_tokens_are_told_in_the_order_of_their_ids_and_huge_logits_stay_finite() -> None:
    choice = token_choice(np.array([1e4, 3.0, 1e4, -1e4], np.float32), 1, 9, lambda token: bytes([97 + token]))
    assert [one.id for one in choice.best] == [0, 2, 1, 3]
    assert choice.best[0].logprob == pytest.approx(np.log(0.5))
    assert choice.chosen.logprob == pytest.approx(3 - 1e4 - np.log(2))
    assert [one.text for one in choice.best] == ["a", "c", "b", "d"]
