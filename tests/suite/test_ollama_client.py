"""The client of Ollama against a server that answers as Ollama's API is documented, and refuses every other request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from pathlib import Path

import pytest

from pytest_aprqa.suite.ollama_client import OllamaClient, OllamaError, OllamaUnavailable, full_name
from tests.http_stand_in import StandIn, serving

DATA = json.loads((Path(__file__).parent.parent / "data/ollama/exchanges.json").read_text(encoding="utf-8"))
FILE = b"this is the content of a file"


class Replay(StandIn):
    def do_GET(self):
        self.replay(None)

    def do_POST(self):
        data = self.body()
        if not self.path.startswith("/api/blobs/"):
            self.replay(json.loads(data))
        elif hashlib.sha256(data).hexdigest() == self.path.rpartition(":")[2]:
            self.replay(None)
        else:
            self.answer_json({"error": "digest mismatch"}, 400)

    def do_DELETE(self):
        self.replay(json.loads(self.body()))

    def replay(self, request):
        for exchange in DATA["exchanges"]:
            asked = (exchange["method"], exchange["path"], exchange.get("request"))
            if asked == (self.command, self.path, request):
                self.server.replayed.append(exchange["name"])
                self.answer_json(exchange["response"], exchange["status"])
                return
        self.answer_json({"error": f"not in the list: {self.command} {self.path} {request}"}, 400)


@pytest.fixture(scope="module")
def server():
    with serving(Replay, replayed=[]) as server:
        yield server


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.place)
    with OllamaClient(10.0) as client:
        yield client


def ask(client, model, prompt, raw):
    return client.generate(model, prompt, temperature=0.0, tokens=32, raw=raw)


def test_names_and_types_of_the_list(client):
    assert client.tags() == ["qwen2.5:0.5b", "tiny:latest", "someone/bare:latest"]
    assert client.stored_types == {"qwen2.5:0.5b": "q4_k_m", "tiny:latest": "f16"}  # a type that is not told is none


def test_times_are_without_the_loading_of_the_model(client):
    """10.7 s of which 6.3 s loaded the model; 8 tokens in 4.23 s."""
    answer = ask(client, "tiny:latest", "What is 2+2?", False)
    assert (answer.text, answer.tokens) == ("2 + 2 is 4.", 8)
    assert answer.seconds == pytest.approx(4.368598792)
    assert answer.speed == pytest.approx(8 / 4.23271)


def test_raw_answers_and_counts_that_are_left_out(client):
    assert ask(client, "tiny:latest", "def add(a, b):", True).text == "\n    return a + b"
    assert ask(client, "tiny:latest", "cached", True).seconds == pytest.approx(0.059)
    assert ask(client, "tiny:latest", "long", True).tokens == 32


def test_thoughts_are_part_of_the_answer(client):
    assert ask(client, "thinker:latest", "What is 2+2?", False).text == "The user asks for a sum."


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("absent:latest", 'status 404: {"error": "model \'absent:latest\' not found"}'),
        ("huge:latest", 'status 500: {"error": "model requires more system memory'),
    ],
)
def test_errors_are_one_line_with_the_servers_words(client, model, words):
    with pytest.raises(OllamaError) as caught:
        ask(client, model, "x", False)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pull_succeeds_fails_or_reaches_nobody(client):
    client.pull("tiny:latest")
    with pytest.raises(OllamaError, match="absent:latest: status 500: pull model manifest: file does not exist") as no:
        client.pull("absent:latest")
    assert not isinstance(no.value, OllamaUnavailable)
    with pytest.raises(OllamaUnavailable, match="no such host"):
        client.pull("far:latest")


def test_model_is_made_of_a_file_and_removed(client, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(FILE)
    client.create("ours", path)
    with pytest.raises(OllamaError, match=r"POST /api/create: status 400: .*invalid file magic"):
        client.create("broken", path)
    client.delete("ours")
    client.delete("absent")


def meet(client, exchange, path):
    """The call of the client that leads to an exchange, whatever comes of it."""
    request = exchange.get("request") or {}
    match exchange["path"].split("/")[2]:
        case "tags":
            client.tags()
        case "generate":
            options = request["options"]
            client.generate(
                request["model"], request["prompt"],
                temperature=options["temperature"], tokens=options["num_predict"], raw=request["raw"],
            )  # fmt: skip
        case "pull":
            client.pull(request["model"])
        case "blobs":
            client.create("ours", path)
        case "create":
            client.create(request["model"], path)
        case "delete":
            client.delete(request["model"])


@pytest.mark.parametrize("exchange", DATA["exchanges"], ids=lambda exchange: exchange["name"].replace(" ", "-"))
def test_every_exchange_is_one_that_the_client_meets(client, server, exchange, tmp_path):
    """The list holds no request that the client does not make, field by field."""
    path = tmp_path / "model.gguf"
    path.write_bytes(FILE)
    server.replayed.clear()
    with contextlib.suppress(OllamaError):
        meet(client, exchange, path)
    assert exchange["name"] in server.replayed


def test_requests_have_documented_fields_only():
    """A request of the list is one that the client made, else the server would have refused it."""
    known = DATA["documented_fields"]
    for exchange in DATA["exchanges"]:
        request = exchange.get("request") or {}
        assert set(request) <= set(known.get(exchange["path"], [])), exchange["name"]
        options = request.get("options", {})
        assert set(options) <= set(known.get(f"{exchange['path']} options", [])), exchange["name"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("qwen2.5", "qwen2.5:latest"),
        ("qwen2.5:0.5b", "qwen2.5:0.5b"),
        ("someone/model", "someone/model:latest"),
        ("host:5000/someone/model", "host:5000/someone/model:latest"),
        ("host:5000/someone/model:7b", "host:5000/someone/model:7b"),
    ],
)
def test_a_name_without_tag_is_the_latest(model, expected):
    assert full_name(model) == expected


class Odd(StandIn):
    """Answers with what the test left on the server."""

    def do_POST(self):
        self.body()
        self.answer(200, self.server.said)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"done": true}', "no response in"),
        (b'{"response": "a", "thinking": 7, "done": true}', "no response in"),
        (b'{"response": "a", "done": false}', "the answer is not done"),
        (b'{"response": "a", "done": true, "eval_count": "many"}', "must be numbers"),
        (b'{"response": "a", "done": true, "load_duration": -1}', "must be numbers"),
    ],
)
def test_answers_that_are_none_are_errors(monkeypatch, answer, words):
    with serving(Odd, said=answer) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.place)
        with OllamaClient(10.0) as client, pytest.raises(OllamaError, match=words):
            ask(client, "m", "x", False)


def test_server_that_never_answers_is_an_error_and_no_missing_server(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        with OllamaClient(0.2) as client:
            with pytest.raises(OllamaError, match="POST /api/generate: ReadTimeout"):
                ask(client, "m", "x", False)
            with pytest.raises(OllamaError, match="GET /api/tags: ReadTimeout") as caught:
                client.tags()
            assert not isinstance(caught.value, OllamaUnavailable)
