"""Any OpenAI-compatible server as an engine: completions, chat, streaming; ids and log-probabilities where told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from pytest_aprqa.engines.engine_key import KEY_VARIABLE, key_headers, without_key
from pytest_aprqa.engines.errors import EngineError, EngineUnavailable
from pytest_aprqa.engines.logprob_format import parsed_logprobs
from pytest_aprqa.engines.protocol import (
    MODES,
    EngineDescription,
    GenerationRequest,
    GenerationResult,
    Progress,
    TokenChoice,
    TokenSink,
)

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact

PATIENCE_S = 600.0  # of one request; the caller's own time limit is shorter and ends this process
CONNECT_S = 10.0
LARGEST_ANSWER = 16 << 20  # bytes
SHOWN = 200  # characters of a refusal
# Said where the server takes it: some punish repetition unless told otherwise, and greedy is not greedy then; some
# leave out the rare tokens unless told otherwise, and a temperature is not all that shapes their draws then.
NEUTRAL = {"repeat_penalty": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
# Where servers tell the ids of a text: (route, field of the request, field of the answer).
TOKENIZERS = (
    ("/tokenize", "text", "token_ids"),  # apr serve
    ("/tokenize", "content", "tokens"),  # llama.cpp's own server
    ("/tokenize", "prompt", "tokens"),  # vLLM
    ("/extras/tokenize", "input", "tokens"),  # llama-cpp-python
)


class UrlEngine:
    """Asks the server at `url`. What it serves is its own affair: no file is loaded and none can be checked."""

    obeys = frozenset({"logprobs"})

    def __init__(self, url: str, backend: str = "cpu", threads: int | None = None) -> None:
        self._url = url
        self._backend = backend
        self._client = httpx.Client(
            base_url=url,
            headers=key_headers(),
            timeout=httpx.Timeout(PATIENCE_S, connect=CONNECT_S),
            verify=url.startswith("https:"),
        )
        self._model: str | None = None
        self._neutral: dict[str, float] = {}
        self._tells: list[str] = []  # the modes in which it tells log-probabilities
        self._description: EngineDescription | None = None

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Find the server and its model. EngineUnavailable: nobody there, or the key is refused."""
        progress("asking the server", 0, 1)
        try:
            listed = self._client.get("/v1/models")
        except httpx.HTTPError as error:
            raise EngineUnavailable(f"no server at {self._url}: {_one_line(error)}") from None
        if listed.status_code in (401, 403):
            raise EngineUnavailable(
                f"the server at {self._url} refuses the key of {KEY_VARIABLE} (status {listed.status_code})"
            )
        self._model = _first_model(listed)
        health = self._health()
        told = health.get("compute_mode")
        self._neutral = self._fields_that_are_taken()
        self._tells = [mode for mode in MODES if self._tells_logprobs(mode)]
        self._description = EngineDescription(
            name="url",
            version=str(health.get("version") or listed.headers.get("server") or "not told"),
            backend=("cpu" if str(told).startswith("cpu") else "gpu") if told else self._backend,
            dtype="not told",
            threads=0,
            details={
                "url": self._url,
                "model": self._model,
                "architecture": self._model,
                "backend_told": told is not None,
                "served_engine": health.get("engine"),
                "one_at_a_time": True,
                "neutral_fields": dict(self._neutral),
                "logprobs": list(self._tells),
            },
        )
        progress("asking the server", 1, 1)
        return self._description

    def describe(self) -> EngineDescription:
        """The server. EngineError before `load`."""
        if self._description is None:
            raise EngineError("no server is asked yet")
        return self._description

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def serve(self, port: int | None = None) -> str:
        """Address of the server: it runs already."""
        return self._url

    def server_problem(self) -> EngineError | None:
        """The server is not ours to watch."""
        return None

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """Results in the order of the requests; a refused one has `error`. With `on_token` the answer is streamed."""
        self.describe()
        results = []
        for number, request in enumerate(requests, 1):
            started = time.monotonic()
            try:
                if request.max_new_tokens < 1:
                    raise EngineError(f"max_new_tokens: found {request.max_new_tokens}, limit at least 1")
                result = self._streamed(request, on_token) if on_token is not None else self._whole(request)
            except EngineError as error:
                spent = time.monotonic() - started
                result = GenerationResult(request.key, "", None, None, "error", spent, error=str(error))
            results.append(result)
            progress("prompts", number, len(requests))
        return results

    def logits(self, ids: Sequence[int]) -> Any:
        """Servers tell no logits: EngineUnavailable."""
        raise EngineUnavailable("logits: a server does not tell them; use the torch or the llama engine")

    def encode(self, text: str) -> list[int]:
        """Ids of a raw prompt from the server's tokenizer. EngineUnavailable where it has no such route."""
        for route, field, told in TOKENIZERS:
            try:
                answer = self._client.post(route, json={"model": self._model, field: text})
                ids = answer.json().get(told) if answer.status_code == 200 else None
            except (httpx.HTTPError, ValueError, AttributeError):
                continue
            if isinstance(ids, list) and all(type(i) is int for i in ids):
                return ids
        raise EngineUnavailable(f"encode: the server at {self._url} does not tell ids of a text")

    # -- requests ------------------------------------------------------------------------------------------------------

    def _health(self) -> dict[str, Any]:
        try:
            body = self._client.get("/health").json()
        except (httpx.HTTPError, ValueError):
            return {}
        return body if isinstance(body, dict) else {}

    def _asked_once(self, fields: Mapping[str, Any], mode: str = "raw") -> dict[str, Any] | None:
        """The choice of an answer of one token with these fields; None where the server refuses them."""
        path, body = self._body(GenerationRequest("once", "a", mode, max_new_tokens=1))
        try:
            answer = self._client.post(path, json={**body, **fields})
            choice = answer.json()["choices"][0] if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None
        return choice if isinstance(choice, dict) else None

    def _fields_that_are_taken(self) -> dict[str, float]:
        if self._asked_once(NEUTRAL) is not None:
            return NEUTRAL
        return {name: value for name, value in NEUTRAL.items() if self._asked_once({name: value}) is not None}

    def _tells_logprobs(self, mode: str) -> bool:
        choice = self._asked_once(_logprob_fields(mode, 1), mode) or {}
        try:
            return bool(parsed_logprobs(choice.get("logprobs")))
        except EngineError:
            return False

    def _body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"max_tokens": request.max_new_tokens, "temperature": request.temperature}
        body |= {"seed": request.seed, **self._neutral}
        if request.logprobs is not None:
            if request.mode not in self._tells:
                raise EngineError(f"logprobs: the server does not tell them in mode {request.mode}, leave them out")
            body |= _logprob_fields(request.mode, request.logprobs)
        if self._model is not None:
            body["model"] = self._model
        if request.mode == "chat":
            body["messages"] = request.messages or [{"role": "user", "content": request.prompt}]
            return "/v1/chat/completions", body
        return "/v1/completions", body | {"prompt": request.prompt}

    def _whole(self, request: GenerationRequest) -> GenerationResult:
        path, body = self._body(request)
        started = time.monotonic()
        with self._posted(path, body) as response:
            data = b""
            for piece in response.iter_bytes():
                data += piece
                if len(data) > LARGEST_ANSWER:
                    raise EngineError(f"server: POST {path}: the answer is larger than {LARGEST_ANSWER} bytes")
        try:
            answer = json.loads(data)
            choice = answer["choices"][0]
            text = choice["message"]["content"] if request.mode == "chat" else choice["text"]
        except (ValueError, LookupError, TypeError, RecursionError):
            shown = data[:SHOWN].decode("utf-8", errors="replace")
            raise EngineError(without_key(f"server: POST {path}: no answer in {shown!r}")) from None
        told = parsed_logprobs(choice.get("logprobs")) if request.logprobs is not None else []
        return _result(request, _text(text), choice, answer.get("usage"), (time.monotonic() - started, None), told)

    def _streamed(self, request: GenerationRequest, on_token: TokenSink) -> GenerationResult:
        path, body = self._body(request)
        started = time.monotonic()
        first: float | None = None
        choice: dict[str, Any] = {}
        text, usage, ids = "", None, None
        told: list[TokenChoice] = []
        with self._posted(path, body | {"stream": True}) as response:
            for chunk in _chunks(response, path):
                usage = chunk.get("usage") or usage
                for part in _parts(chunk):
                    delta = part.get("delta")
                    said = (
                        (delta.get("content") if isinstance(delta, dict) else None)
                        if request.mode == "chat"
                        else (part.get("text"))
                    )
                    piece, new_ids = _text(said), _ids(part, "token_ids")
                    likely = parsed_logprobs(part.pop("logprobs", None)) if request.logprobs is not None else None
                    told += likely or []
                    choice |= {name: value for name, value in part.items() if value is not None}
                    if new_ids is not None:
                        ids = (ids or []) + new_ids
                    if piece or new_ids:
                        first = first if first is not None else time.monotonic() - started
                        text += piece
                        on_token(piece, new_ids or [], *([] if likely is None else [likely]))
        choice["token_ids"] = ids
        return _result(request, text, choice, usage, (time.monotonic() - started, first), told)

    @contextmanager
    def _posted(self, path: str, body: dict[str, Any]) -> Iterator[httpx.Response]:
        """The open answer of status 200; EngineError for every other one."""
        try:
            with self._client.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    response.read()
                    text = f"server: POST {path}: status {response.status_code}: {response.text[:SHOWN]}"
                    raise EngineError(without_key(" ".join(text.split())))
                yield response
        except httpx.HTTPError as error:
            raise EngineError(f"server: POST {path}: {_one_line(error)}") from None


def _result(
    request: GenerationRequest,
    text: str,
    choice: dict[str, Any],
    usage: Any,
    seconds: tuple[float, float | None],
    told: list[TokenChoice],
) -> GenerationResult:
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    prompt_tokens, new_tokens = (count if type(count) is int else None for count in counts)
    reason = choice.get("finish_reason")
    return GenerationResult(
        key=request.key,
        text=text,
        prompt_ids=_ids(choice, "prompt_token_ids"),
        new_ids=_ids(choice, "token_ids"),
        finish_reason=reason if isinstance(reason, str) and reason else "none",
        seconds=seconds[0],
        first_token_seconds=seconds[1],
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        logprobs=told if request.logprobs is not None else None,
    )


def _logprob_fields(mode: str, count: int) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": count} if mode == "chat" else {"logprobs": count}


def _parts(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    parts = chunk.get("choices") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise EngineError(f"server: choices: found {parts!r:.80}, a list of objects is needed")
    return parts


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise EngineError(f"server: text of the answer: found {value!r:.80}, text is needed")
    return value or ""


def _ids(choice: dict[str, Any], field: str) -> list[int] | None:
    value = choice.get(field)
    if value is not None and not (isinstance(value, list) and all(type(i) is int and i >= 0 for i in value)):
        raise EngineError(f"server: {field}: found {value!r:.80}, a list of token ids is needed")
    return value


def _chunks(response: httpx.Response, path: str) -> Iterator[dict[str, Any]]:
    read = 0
    for line in response.iter_lines():
        read += len(line)
        if read > LARGEST_ANSWER:
            raise EngineError(f"server: POST {path}: the stream is larger than {LARGEST_ANSWER} characters")
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise EngineError(without_key(f"server: POST {path}: a chunk is not JSON: {data[:80]!r}")) from None
        if not isinstance(chunk, dict) or chunk.get("error"):
            raise EngineError(without_key(f"server: POST {path}: {chunk!r:.{SHOWN}}"))
        yield chunk
    raise EngineError(f"server: POST {path}: the stream ended without data: [DONE]")


def _first_model(listed: httpx.Response) -> str | None:
    try:
        name = listed.json()["data"][0]["id"]
    except (ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _one_line(error: Exception) -> str:
    return without_key(" ".join(f"{type(error).__name__}: {error}".split())[:SHOWN])
