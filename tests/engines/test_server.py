"""The OpenAI-compatible server, asked by a real httpx client over a real socket."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_aprqa.engines.errors import EngineCrashed, EngineError
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.server import DEFAULT_TOKENS, LARGEST_BODY, MOST_TOKENS, ServerThread
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from tests.model_fixtures import PROMPTS

ROOT = Path(__file__).parents[2]
WHOLE, CHAT = "/v1/completions", "/v1/chat/completions"


@pytest.fixture(scope="module")
def engine(random_qwen2_folder: Path) -> TorchEngine:
    engine = TorchEngine()
    engine.load(describe_artifact(random_qwen2_folder / "model.safetensors", "safetensors"), lambda *event: None)
    return engine


@pytest.fixture(scope="module")
def server(engine: TorchEngine) -> ServerThread:
    return ServerThread(engine)


@pytest.fixture
def client(server: ServerThread) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def asked(engine: TorchEngine, server: ServerThread, **fields: Any) -> Any:
    with server.lock:
        return engine.generate([GenerationRequest("direct", **fields)], lambda *event: None)[0]


def streamed(client: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with client.stream("POST", path, json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def message_of(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert "\n" not in error["message"]
    return str(error["message"])


def test_health_and_models(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok", "engine": "torch", "compute_mode": "cpu"}
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "qwen2"


def test_completion_is_what_the_engine_says(client: httpx.Client, engine: TorchEngine, server: ServerThread) -> None:
    body = {"model": "qwen2", "prompt": PROMPTS[2], "max_tokens": 20}
    answer = client.post(WHOLE, json=body).json()
    direct = asked(engine, server, prompt=PROMPTS[2], max_new_tokens=20)
    (choice,) = answer["choices"]
    assert answer["object"] == "text_completion"
    assert (choice["text"], choice["token_ids"]) == (direct.text, direct.new_ids)
    assert choice["finish_reason"] == direct.finish_reason
    prompt, new = len(direct.prompt_ids), len(direct.new_ids)
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def test_chat_is_what_the_engine_says(client: httpx.Client, engine: TorchEngine, server: ServerThread) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Größe?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "你好"},
    ]
    answer = client.post(CHAT, json={"messages": messages, "max_tokens": 9}).json()
    direct = asked(engine, server, prompt="", mode="chat", messages=messages, max_new_tokens=9)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": direct.text}
    assert answer["choices"][0]["prompt_token_ids"] == direct.prompt_ids


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("prompt", PROMPTS[1:3])
def test_streamed_pieces_make_the_whole_text(client: httpx.Client, prompt: str, temperature: float) -> None:
    # A random model writes bytes of many characters that no two tokens complete: half characters must wait.
    body = {"prompt": prompt, "max_tokens": 40, "temperature": temperature, "seed": 5}
    whole = client.post(WHOLE, json=body).json()
    chunks = streamed(client, WHOLE, body)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    ids = [i for chunk in chunks for i in chunk["choices"][0].get("token_ids", [])]
    assert ids == whole["choices"][0]["token_ids"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_streamed_chat_makes_the_whole_text(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 12}
    whole = client.post(CHAT, json=body).json()
    chunks = streamed(client, CHAT, body)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


class SplitsCharacters:
    """An engine's face of the tokenizer: one token a byte."""

    text = "ü€🎉né"

    def decode(self, ids: list[int], skip_special: bool = True) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(("stop", "expected"), [([], SplitsCharacters.text), (["absent"], SplitsCharacters.text)])
def test_characters_split_over_tokens_arrive_whole(stop: list[str], expected: str) -> None:
    from types import SimpleNamespace

    from pytest_aprqa.engines.stop_sequences import StopSequences
    from pytest_aprqa.engines.torch_engine import _emit

    data = SplitsCharacters.text.encode()
    pieces: list[str] = []
    shown = ""
    for count in range(1, len(data) + 1):
        decoding: Any = SimpleNamespace(new_ids=[list(data[:count])], all_finished=count == len(data), wanted=[None])
        text = data[:count].decode(errors="replace")
        shown = _emit(text, StopSequences(stop), decoding, shown, lambda piece, ids: pieces.append(piece))
    assert [piece for piece in pieces if piece] == list(expected)


def test_default_number_of_tokens(client: httpx.Client) -> None:
    usage = client.post(WHOLE, json={"prompt": PROMPTS[0]}).json()["usage"]
    assert 1 <= usage["completion_tokens"] <= DEFAULT_TOKENS


GOOD = {"prompt": "a", "max_tokens": 1}


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("max_tokens", [1, MOST_TOKENS], [0, MOST_TOKENS + 1, -1, 1.5, "2", True, None]),
        ("temperature", [0, 2, 0.5], [-0.001, 2.001, "1", True, None]),
        ("seed", [0, 2**63 - 1], [-1, 2**63, 1.0, "3", False]),
    ],
)
def test_numbers_just_inside_and_just_outside_their_limits(
    client: httpx.Client, field: str, allowed: list[Any], refused: list[Any]
) -> None:
    for value in allowed:
        body = GOOD | {field: value}
        if field == "max_tokens" and value > 100:
            body["prompt"] = "7" * 510  # the context of 512 ends the generation
        assert client.post(WHOLE, json=body).status_code == 200, value
    for value in refused:
        assert field in message_of(client.post(WHOLE, json=GOOD | {field: value}), 400), value


@pytest.mark.parametrize(("size", "status"), [(LARGEST_BODY, 400), (LARGEST_BODY + 1, 413)])
def test_body_just_within_and_just_beyond_its_limit(client: httpx.Client, size: int, status: int) -> None:
    # A prompt of that size is far longer than the context, which is the reason of the 400.
    start, end = b'{"max_tokens": 1, "prompt": "', b'"}'
    body = start + b" " * (size - len(start) - len(end)) + end
    message = message_of(client.post(WHOLE, content=body), status)
    assert ("the context holds" in message) == (status == 400)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b"\xff\xfe{}", 400),
        (b"[" * 100_000, 400),
        (b"{}", 422),
        (b'{"prompt": 3}', 422),
        (b'{"prompt": ["a"]}', 422),
        (b'{"prompt": ""}', 400),
        (b'{"prompt": "a", "max_tokens": NaN}', 400),
        (b'{"prompt": "a", "temperature": NaN}', 400),
        (b'{"prompt": "a", "temperature": Infinity}', 400),
        (b'{"prompt": "\\ud800"}', 400),
    ],
)
def test_bad_completion_bodies_are_refused_in_json(client: httpx.Client, content: bytes, status: int) -> None:
    message_of(client.post(WHOLE, content=content), status)
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        (None, 400),
        ([], 400),
        ("hello", 400),
        ([3], 422),
        ([{"role": "user"}], 422),
        ([{"role": "user", "content": 3}], 422),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], 422),
    ],
)
def test_bad_chat_bodies_are_refused_in_json(client: httpx.Client, messages: Any, status: int) -> None:
    assert "messages" in message_of(client.post(CHAT, json={"messages": messages}), status)


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model_route_and_method(client: httpx.Client, stream: bool) -> None:
    assert "gpt-9" in message_of(client.post(WHOLE, json=GOOD | {"model": "gpt-9", "stream": stream}), 404)
    assert "/v2/nothing" in message_of(client.get("/v2/nothing"), 404)
    assert message_of(client.get(WHOLE), 405)


def test_prompt_that_fills_the_context_is_a_400(client: httpx.Client) -> None:
    assert client.post(WHOLE, json=GOOD | {"prompt": "7" * 511}).status_code == 200
    for stream in (False, True):
        body = GOOD | {"prompt": "7" * 512, "stream": stream}
        assert "the context holds 512" in message_of(client.post(WHOLE, json=body), 400)


def test_twenty_clients_at_once_get_their_own_answers(client: httpx.Client, server: ServerThread) -> None:
    def ask(number: int) -> dict[str, Any]:
        body = {"prompt": f"{number} and", "max_tokens": 6}
        with httpx.Client(base_url=server.url, timeout=60) as own:
            if number % 2:
                chunks = streamed(own, WHOLE, body)
                return {"text": "".join(chunk["choices"][0]["text"] for chunk in chunks), "usage": chunks[-1]["usage"]}
            answer = own.post(WHOLE, json=body).json()
            return {"text": answer["choices"][0]["text"], "usage": answer["usage"]}

    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(ask, range(20)))
    assert together == [ask(number) for number in range(20)]


def test_port_that_is_taken_is_one_line(engine: TorchEngine) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} on 127.0.0.1 cannot be used: .*in use") as caught:
            ServerThread(engine, port)
        assert "\n" not in str(caught.value)
    assert ServerThread(engine, port).url.endswith(f":{port}")
    with pytest.raises(EngineError, match="port 65536"):
        ServerThread(engine, 65536)


# -- over the child process --------------------------------------------------------------------------------------------


@pytest.fixture
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EngineHost]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with EngineHost(f"tests.engines.misbehaving_engines:{request.param}") as host:
        host.load(Artifact("safetensors", tmp_path / "x", "published", ""), timeout_s=20)
        yield host


def until(condition: Any, within_s: float = 4.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("host", ["ServesSlowly"], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_client_that_goes_away_stops_the_generation(host: EngineHost, stream: bool) -> None:
    url = host.serve(timeout_s=30)
    body = {"prompt": "left", "max_tokens": 500, "stream": stream}
    with httpx.Client(base_url=url, timeout=0.8) as client:
        if stream:
            with client.stream("POST", WHOLE, json=body) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(WHOLE, json=body)
    assert until(lambda: "left ended" in host.stderr_tail)
    ended = re.search(r"left ended after (\d+) tokens", host.stderr_tail)
    assert ended is not None
    assert int(ended[1]) < 60
    with httpx.Client(base_url=url, timeout=10) as client:
        assert client.post(WHOLE, json={"prompt": "next", "max_tokens": 2}).json()["choices"][0]["text"] == "aa"


@pytest.mark.parametrize("host", ["Panics"], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_panic_while_serving_is_the_death_of_the_child(host: EngineHost, stream: bool) -> None:
    with httpx.Client(base_url=host.serve(timeout_s=30), timeout=10) as client:
        assert client.post(WHOLE, json=GOOD).json()["choices"][0]["text"] == "fine"
        with pytest.raises(httpx.HTTPError):
            client.post(WHOLE, json={"prompt": "guilty", "stream": stream}).read()
    death = host.death()
    assert isinstance(death, EngineCrashed)
    assert death.exit_code == 101
    assert "index out of bounds" in str(death)


@pytest.mark.parametrize("host", ["Raises"], indirect=True)
def test_exception_of_the_engine_is_a_500_in_json(host: EngineHost) -> None:
    with httpx.Client(base_url=host.serve(timeout_s=30), timeout=10) as client:
        assert "KeyError" in message_of(client.post(WHOLE, json={"prompt": "guilty"}), 500)
        assert client.post(WHOLE, json=GOOD).status_code == 200


@pytest.mark.parametrize("host", ["ServesSlowly"], indirect=True)
def test_pipe_and_server_take_turns(host: EngineHost) -> None:
    url = host.serve(timeout_s=30)
    assert host.serve(timeout_s=5) == url
    answers: list[int] = []

    def post() -> None:
        answers.append(httpx.post(url + WHOLE, json={"prompt": "http", "max_tokens": 5}, timeout=20).status_code)

    thread = threading.Thread(target=post)
    thread.start()
    assert host.generate([GenerationRequest("pipe", "pipe", max_new_tokens=5)], timeout_s=10)[0].text == "aaaaa"
    thread.join()
    assert answers == [200]
