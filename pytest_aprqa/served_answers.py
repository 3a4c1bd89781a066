"""Scenarios of the serve modality: a real HTTP client against the server over the loaded engine, raw completions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import CellAnswers, LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.playbooks.scenarios import Scenario


def ask_server(engine: LoadedEngine, scenarios: Sequence[Scenario], answers: CellAnswers) -> None:
    """Fill `answers`. Every second scenario is streamed, so that both ways of answering are tried."""
    import httpx

    from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineTimeout

    client: httpx.Client | None = None
    fields: dict[str, Any] = {}
    try:
        for position, scenario in enumerate(scenarios):
            try:
                if client is None:
                    client = http_client(engine)
                    fields = request_fields(engine, client)
                stream = position % 2 == 1
                result = complete(client, scenario, stream=stream, fields=fields)
                answers.results[scenario.key] = _with_ids(engine, client, scenario, result)
            except (httpx.HTTPError, EngineError) as error:
                failure = _failure(engine, error)
                answers.failures[scenario.key] = failure
                if isinstance(failure, (EngineCrashed, EngineTimeout)):
                    answers.deaths.append(failure)
                    if client is not None:  # a death while the server starts has revived the engine already
                        client.close()
                        client = None
                        engine.revive()
    finally:
        if client is not None:
            client.close()


def http_client(engine: LoadedEngine) -> httpx.Client:
    """A client of the engine's server, started if need be; with the key, where the server is somebody else's."""
    import httpx

    from pytest_aprqa.engines.engine_key import key_headers

    url = engine.server_url()
    headers = key_headers() if engine.description.name == "url" else {}
    # Certificates are read (0.1 s) only for a server that has one.
    return httpx.Client(base_url=url, timeout=engine.timeout_s, verify=url.startswith("https:"), headers=headers)


def served_model(client: httpx.Client) -> str | None:
    """The first model of `GET /v1/models`, which some servers want to be named in each request; None: it lists none."""
    answer = client.get("/v1/models")
    try:
        name = answer.json()["data"][0]["id"]
    except (ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _failure(engine: LoadedEngine, error: Exception) -> Exception:
    """What an HTTP error means: a time-out, the death of the child, or an error of a living server."""
    import httpx

    from pytest_aprqa.engines.errors import EngineError, EngineTimeout

    if isinstance(error, httpx.TimeoutException):
        limit = round(engine.timeout_s * 1000)
        return EngineTimeout("an answer over HTTP", limit_ms=limit, stderr_tail=engine.host.stderr_tail)
    if isinstance(error, httpx.HTTPError):
        return engine.host.death() or EngineError(f"server: {type(error).__name__}: {error}")
    return error


def request_fields(engine: LoadedEngine, client: httpx.Client) -> dict[str, Any]:
    """What this server needs in every request: the name of its model, and the word not to punish repetition."""
    name = served_model(client)
    neutral: dict[str, Any] = engine.description.details.get("neutral_fields") or {}
    return neutral | ({"model": name} if name else {})


def _with_ids(
    engine: LoadedEngine, client: httpx.Client, scenario: Scenario, result: GenerationResult
) -> GenerationResult:
    """The `apr` server tells ids only in its own route: asked again there, taken where it gives the same text."""
    import dataclasses

    if engine.description.name != "apr" or scenario.temperature != 0 or result.new_ids is not None:
        return result
    body = {"prompt": scenario.prompt, "max_tokens": scenario.max_tokens, "temperature": 0}
    answer = client.post("/generate", json=body)
    try:
        told = answer.json()
        ids, new, text = told["token_ids"], told["num_generated"], told["text"]
        same = answer.status_code == 200 and text == result.text and 0 <= new <= len(ids)
    except (ValueError, LookupError, TypeError):
        return result
    if not same:
        return result
    begin = len(ids) - new
    return dataclasses.replace(result, prompt_ids=ids[:begin], new_ids=ids[begin:])


def complete(
    client: httpx.Client, scenario: Scenario, *, stream: bool, fields: dict[str, Any] | None = None
) -> GenerationResult:
    """One raw completion over HTTP. Raises EngineError for a status other than 200 or a body of another shape."""
    from pytest_aprqa.engines.protocol import GenerationResult

    body = {
        "prompt": scenario.prompt,
        "max_tokens": scenario.max_tokens,
        "temperature": scenario.temperature,
        "seed": scenario.seed,
        "stream": stream,
    } | (fields or {})
    usage: Any = None
    started = time.monotonic()
    first: float | None = None
    if stream:
        choice: dict[str, Any] = {"text": ""}
        for chunk in stream_chunks(client, "/v1/completions", body):
            first = first if first is not None else time.monotonic() - started
            usage = chunk.get("usage") or usage
            for part in chunk.get("choices", []):
                choice["text"] += part.get("text") or ""
                if part.get("token_ids") is not None:
                    choice["token_ids"] = choice.get("token_ids", []) + part["token_ids"]
                choice["prompt_token_ids"] = part.get("prompt_token_ids") or choice.get("prompt_token_ids")
                choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
    else:
        answer = _json_of(client.post("/v1/completions", json=body))
        choice, usage = answer["choices"][0], answer.get("usage")
    return GenerationResult(
        key=scenario.key,
        text=choice["text"],
        prompt_ids=choice.get("prompt_token_ids"),
        new_ids=choice.get("token_ids"),
        finish_reason=choice.get("finish_reason") or "none",
        seconds=time.monotonic() - started,
        first_token_seconds=first,
        prompt_tokens=usage.get("prompt_tokens") if isinstance(usage, dict) else None,
        new_tokens=usage.get("completion_tokens") if isinstance(usage, dict) else None,
    )


def stream_chunks(client: httpx.Client, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream. Raises EngineError unless it ends with `data: [DONE]`."""
    from pytest_aprqa.engines.errors import EngineError

    chunks = 0
    with client.stream("POST", path, json=body) as response:
        if response.status_code != 200:
            response.read()
            raise EngineError(f"server: POST {path}: status {response.status_code}: {response.text[:200]}")
        for line in response.iter_lines():
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            chunks += 1
            try:
                yield json.loads(data)
            except ValueError:
                raise EngineError(f"server: POST {path}: a chunk is not JSON: {data[:80]!r}") from None
    raise EngineError(f"server: POST {path}: the stream ended without data: [DONE] after {chunks} chunks")


def _json_of(response: httpx.Response) -> dict[str, Any]:
    from pytest_aprqa.engines.errors import EngineError

    if response.status_code != 200:
        raise EngineError(f"server: POST {response.url.path}: status {response.status_code}: {response.text[:200]}")
    try:
        value = response.json()
    except ValueError:
        raise EngineError(f"server: POST {response.url.path}: the body is not JSON: {response.text[:200]!r}") from None
    if not isinstance(value, dict) or not value.get("choices"):
        raise EngineError(f"server: POST {response.url.path}: no choices in {str(value)[:200]}")
    return value
