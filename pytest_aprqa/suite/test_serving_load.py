"""The server under load and with clients that behave badly: nobody gets another answer, nobody blocks the others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

CLIENTS = 10  # F-HTTP-019
HUGE = 1_000_000  # F-HTTP-018
TOKENS = 8
PIECE = 10  # bytes of a body that a slow client sends later
PAUSE_S = 0.1  # the slow client is first
LONG = 128
ABANDONED = 3
SHORTEST_LONG_S = 2.0  # a generation that is over sooner says nothing about slots
SLACK_S = 0.5
PATIENCE_S = 0.3  # of a client that goes away
PATH = "/v1/completions"


@pytest.mark.gate("F-HTTP-014", severity="P1")
def test_usage_counts_are_true(
    engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """Prompt tokens are those of the file's tokenizer, completion tokens the ids that came, the total is their sum."""
    prompt = playbook.matrix.prompts[0]
    expected = len(artifact.tokenizer.encode(prompt))
    with _client(engine, playbook) as client:
        answer = client.post(PATH, json=_body(engine, client, prompt)).json()
    usage, choice = answer["usage"], answer["choices"][0]
    ids = choice.get("token_ids")
    observe("prompt_tokens", usage["prompt_tokens"], limit=expected, passed=usage["prompt_tokens"] == expected)
    observe("completion_tokens", usage["completion_tokens"], limit=f"<= {TOKENS}")
    assert usage["prompt_tokens"] == expected, f"usage counts {usage['prompt_tokens']} prompt tokens, not {expected}"
    assert 0 < usage["completion_tokens"] <= TOKENS, f"usage counts {usage['completion_tokens']} of at most {TOKENS}"
    assert ids is None or usage["completion_tokens"] == len(ids), f"usage {usage}, but {len(ids)} ids came"
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], (
        f"usage does not add up: {usage}"
    )


@pytest.mark.gate("F-HTTP-018", severity="P1")
def test_huge_token_limit_is_no_crash(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """`max_tokens` 1000000 is refused with 4xx or cut to the context; the server lives on."""
    prompt = playbook.matrix.prompts[0]
    with _client(engine, playbook) as client:
        answer = client.post(PATH, json=_body(engine, client, prompt) | {"max_tokens": HUGE})
        observe("status", answer.status_code, limit="200 or 400 to 499")
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (
            f"max_tokens {HUGE}: status {answer.status_code}: {answer.text[:100]}"
        )
        assert _text(client.post(PATH, json=_body(engine, client, prompt))) is not None


@pytest.mark.gate("F-HTTP-019", severity="P1")
def test_concurrent_clients_get_the_same_answers(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Ten clients at once get the answers that each prompt gets alone."""
    prompts = list(dict.fromkeys(playbook.matrix.prompts))[:CLIENTS]
    with _client(engine, playbook) as client:
        bodies = {prompt: _body(engine, client, prompt) for prompt in prompts}
        alone = {prompt: _text(client.post(PATH, json=body)) for prompt, body in bodies.items()}
        asked = [prompts[number % len(prompts)] for number in range(CLIENTS)]
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(lambda prompt: _text(client.post(PATH, json=bodies[prompt])), asked))
    problems = [
        f"{prompt!r}: alone {alone[prompt]!r}, with {CLIENTS - 1} others {text!r}"
        for prompt, text in zip(asked, together, strict=True)
        if text != alone[prompt]
    ]
    observe("clients", CLIENTS)
    observe("answers_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {CLIENTS} clients: {listed(problems)}"


@pytest.mark.gate("F-SERVE-006", severity="P1")
def test_slow_and_half_closed_clients_block_nobody(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """While one client sends its body in pieces, another is answered; so is the next one after a half-closed one."""
    with _client(engine, playbook) as client:
        body = _body(engine, client, playbook.matrix.prompts[0])
        parts = urlsplit(engine.server_url())
        if parts.scheme != "http":
            pytest.skip("the server speaks https: what single bytes do is not seen from here")
        data = _request_bytes(parts, body)
        right = _text(client.post(PATH, json=body))
        address = (str(parts.hostname), parts.port or 80)
        with socket.create_connection(address, timeout=engine.timeout_s) as slow:
            slow.sendall(data[:-PIECE])
            time.sleep(PAUSE_S)
            between = _text(client.post(PATH, json=body))
            slow.sendall(data[-PIECE:])
            status = _status_line(slow)
        with socket.create_connection(address, timeout=engine.timeout_s) as half:
            half.sendall(data)
            half.shutdown(socket.SHUT_WR)
            of_half = _status_line(half)
        after = _text(client.post(PATH, json=body))
    observe("slow_client", status, limit="HTTP/1.1 200", passed=" 200" in status)
    observe("half_closed_client", of_half or "closed", limit="HTTP/1.1 200 or closed")
    assert between == right, f"beside a slow client the answer is {between!r}, alone {right!r}"
    assert " 200" in status, f"a slow client got {status!r}"
    assert not of_half or " 200" in of_half, f"a client that closed its half got {of_half!r}"
    assert after == right, f"after a half-closed client the answer is {after!r}, before {right!r}"


@pytest.mark.gate("F-SERVE-007", severity="P1")
def test_client_that_goes_away_frees_its_slot(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """After abandoned long streams the next client is answered before one of them could have ended."""
    prompt = playbook.matrix.prompts[0]
    with _client(engine, playbook) as client:
        long = _body(engine, client, prompt) | {"max_tokens": LONG, "temperature": 1.5, "stream": True}
        started = time.monotonic()
        with client.stream("POST", PATH, json=long) as response:
            assert response.status_code == 200, f"POST {PATH}: status {response.status_code}"
            _ = response.read()
        whole = time.monotonic() - started
        observe("long_generation", whole, limit=f">= {SHORTEST_LONG_S}", unit="s")
        if whole < SHORTEST_LONG_S:
            pytest.skip(
                f"a long generation takes less than {SHORTEST_LONG_S} s here: too short to see a slot that is not freed"
            )
        with concurrent.futures.ThreadPoolExecutor(ABANDONED) as pool:
            list(pool.map(lambda _: _abandon(client, long), range(ABANDONED)))
        started = time.monotonic()
        assert _text(client.post(PATH, json=_body(engine, client, prompt) | {"max_tokens": 1})) is not None
        waited = time.monotonic() - started
    limit = whole / 2 + SLACK_S
    observe("waited", waited, limit=limit, unit="s", passed=waited <= limit)
    assert waited <= limit, (
        f"after {ABANDONED} clients went away the next one waited {waited:.1f} s, limit {limit:.1f} s:"
        " the server still generates for them"
    )


@pytest.mark.gate("F-SERVE-003", severity="P1")
def test_stream_comes_in_pieces(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """An answer of several tokens is streamed in several pieces; first piece, gaps and end are measured."""
    from pytest_aprqa.served_answers import stream_chunks

    firsts: list[float] = []
    gaps: list[float] = []
    wholes: list[float] = []
    most = 0
    with _client(engine, playbook) as client:
        for prompt in playbook.matrix.prompts[:5]:
            started = last = time.monotonic()
            pieces = tokens = 0
            for chunk in stream_chunks(client, PATH, _body(engine, client, prompt) | {"stream": True}):
                now = time.monotonic()
                said = [c for c in chunk.get("choices", []) if c.get("text")]
                tokens = (chunk.get("usage") or {}).get("completion_tokens") or tokens
                if said:
                    (gaps if pieces else firsts).append((now - last) * 1000)
                    pieces, last = pieces + 1, now
            wholes.append((time.monotonic() - started) * 1000)
            most = max(most, pieces)
    for name, values in (("first_token", firsts), ("between_tokens", gaps), ("whole_answer", wholes)):
        if values:
            observe(f"{name}_p50", _percentile(values, 50), unit="ms")
            observe(f"{name}_p99", _percentile(values, 99), unit="ms")
    observe("most_pieces", most, limit=">= 2", passed=most >= 2)
    assert most >= 2, f"no answer of up to {TOKENS} tokens came in more than {most} piece: the stream is not live"


def _abandon(client: httpx.Client, body: dict[str, Any]) -> None:
    """Ask for a stream and go away after its first line, or when none comes soon."""
    import httpx

    patience = httpx.Timeout(client.timeout.connect, read=PATIENCE_S)
    with (
        contextlib.suppress(httpx.ReadTimeout),
        client.stream("POST", PATH, json=body, timeout=patience) as response,
    ):
        next(response.iter_lines(), None)


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))]


def _body(engine: LoadedEngine, client: httpx.Client, prompt: str) -> dict[str, Any]:
    from pytest_aprqa.served_answers import request_fields

    return {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0} | request_fields(engine, client)


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, f"POST {PATH}: status {answer.status_code}: {answer.text[:100]}"
    return str(answer.json()["choices"][0]["text"])


def _status_line(connection: socket.socket) -> str:
    """First line of an answer; empty where the server closed the connection without one."""
    try:
        return connection.recv(64).decode("latin-1").split("\r\n", 1)[0]
    except ConnectionError:
        return ""


def _request_bytes(parts: Any, body: dict[str, Any]) -> bytes:
    from pytest_aprqa.engines.engine_key import key_headers

    data = json.dumps(body).encode()
    headers = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(data))}
    lines = [f"POST {parts.path}{PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in (headers | key_headers()).items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + data


def _client(engine: LoadedEngine, playbook: Playbook) -> httpx.Client:
    from pytest_aprqa.served_answers import http_client

    if "serve" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for serve")
    return http_client(engine)
