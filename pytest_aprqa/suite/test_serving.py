"""The OpenAI-compatible server over the loaded engine, with a real HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

FIRST_TURN = [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello, Ada!"}]
QUESTION = [{"role": "user", "content": "What is 2+2?"}]


@pytest.mark.gate("F-HTTP-002", severity="P1")
def test_health_answers(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """`GET /health` answers 200 with a status, `GET /v1/models` lists the model."""
    client = _client(engine, playbook)
    with client:
        health = client.get("/health")
        models = client.get("/v1/models")
        assert models.status_code == 200, f"GET /v1/models: status {models.status_code}"
        assert models.json()["data"], f"GET /v1/models lists no model: {models.text[:100]}"
        if health.status_code == 404 and engine.description.name == "url":
            pytest.skip("somebody else's server has no route /health, and the OpenAI interface asks for none")
        observe("status", health.status_code, limit=200, passed=health.status_code == 200)
        assert health.status_code == 200, f"GET /health: status {health.status_code}: {health.text[:100]}"
        assert health.json()["status"] in ("ok", "healthy"), f"GET /health: {health.text[:100]}"


@pytest.mark.gate("F-HTTP-010", severity="P1")
def test_streamed_chat_equals_whole_chat(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Streaming chat ends with `[DONE]`, its pieces assemble to the text of the whole answer, usage is counted."""
    from pytest_aprqa.served_answers import request_fields, stream_chunks

    body = {"messages": QUESTION, "max_tokens": 16, "temperature": 0}
    with _client(engine, playbook) as client:
        body |= request_fields(engine, client)
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, f"chat: status {answer.status_code}: {answer.text[:100]}"
        whole = answer.json()["choices"][0]["message"]["content"]
        usage = answer.json()["usage"]
        pieces = []
        for chunk in stream_chunks(client, "/v1/chat/completions", body | {"stream": True}):
            pieces += [c["delta"].get("content") or "" for c in chunk.get("choices", [])]
    observe("pieces", len(pieces), limit=">= 1")
    observe("completion_tokens", usage["completion_tokens"], limit=">= 1")
    assert usage["prompt_tokens"] > 0, f"usage counts no prompt token: {usage}"
    assert usage["completion_tokens"] > 0, f"usage counts no completion token: {usage}"
    assert "".join(pieces) == whole, f"streamed {''.join(pieces)!r}, whole {whole!r}"


@pytest.mark.gate("F-HTTP-017", severity="P1")
def test_bad_requests_are_refused(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Bad JSON, a missing field and empty messages get a 4xx with a JSON error, and the server lives on."""
    import httpx

    from pytest_aprqa.served_answers import request_fields

    with _client(engine, playbook) as client:
        model = request_fields(engine, client)
        bodies: dict[str, tuple[str, dict[str, Any]]] = {
            "not JSON": ("completions", {"content": b"{", "headers": {"content-type": "application/json"}}),
            "no prompt": ("completions", {"json": model | {"max_tokens": 4}}),
            "empty messages": ("chat/completions", {"json": model | {"messages": []}}),
        }
        for name, (route, content) in bodies.items():
            try:
                answer = client.post(f"/v1/{route}", **content)
            except httpx.RemoteProtocolError as error:
                raise AssertionError(f"{name}: the connection breaks instead of a 4xx: {error}") from None
            observe(name, answer.status_code, limit="400 to 499", passed=400 <= answer.status_code < 500)
            assert 400 <= answer.status_code < 500, f"{name}: status {answer.status_code}: {answer.text[:100]}"
            assert "error" in answer.json(), f"{name}: no `error` in {answer.text[:100]}"
        assert client.get("/v1/models").status_code == 200, "the server does not answer after bad requests"


@pytest.mark.gate("F-HTTP-013", severity="P1")
def test_chat_reads_every_turn(
    engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """A conversation is shown to the model whole: its first turn, the answer to it, and the last question."""
    from pytest_aprqa.models.chat_template import render_chat
    from pytest_aprqa.served_answers import request_fields

    tokenizer = artifact.tokenizer
    if not tokenizer.chat_template:
        pytest.skip("blocked: the file declares no chat template, see G1-TOKENIZER-001")
    messages = [*FIRST_TURN, *QUESTION]
    text = render_chat(
        tokenizer.chat_template,
        messages,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        path=tokenizer.path,
    )
    expected = tokenizer.encode(text, add_special=False)
    with _client(engine, playbook) as client:
        body = {"messages": messages, "max_tokens": 4, "temperature": 0} | request_fields(engine, client)
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, f"chat: status {answer.status_code}: {answer.text[:100]}"
    told = answer.json()
    found, ids = told["usage"]["prompt_tokens"], told["choices"][0].get("prompt_token_ids")
    observe("prompt_tokens", found, limit=len(expected), passed=found == len(expected))
    observe.advise("the server forgets earlier turns, or renders another template than the file's")
    assert found == len(expected), f"{len(messages)} turns: {found} prompt tokens, the template makes {len(expected)}"
    assert ids is None or ids == expected, f"{len(messages)} turns: other prompt ids than the template's"


def _client(engine: LoadedEngine, playbook: Playbook):  # type: ignore[no-untyped-def]
    from pytest_aprqa.served_answers import http_client

    if "serve" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for serve")
    return http_client(engine)
