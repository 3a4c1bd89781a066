"""An OpenAI-compatible HTTP server over the loaded engine: health, models, completions, chat, streaming."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pytest_aprqa.engines.death import die, is_death
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.logprob_format import CompletionLogprobs, chat_logprobs
from pytest_aprqa.engines.protocol import (
    MOST_LOGPROBS,
    MOST_STOPS,
    GenerationRequest,
    GenerationResult,
    TokenChoice,
    unknown_to,
)
from pytest_aprqa.models.errors import ModelError

HOST = "127.0.0.1"
LARGEST_BODY = 4 << 20  # bytes
MOST_TOKENS = 4096
DEFAULT_TOKENS = 16
START_LIMIT_S = 120.0  # uvicorn is imported and starts within a second, on a busy machine within tens of them
DISCONNECT_POLL_S = 0.1
LONGEST_MESSAGE = 2000  # characters of an error
LONGEST_VALUE = 80  # characters of a refused value in an error
# Fields of the OpenAI interface that would change the answer and are not obeyed here, with the values that ask for
# nothing; null always does. To leave such a field out of account silently would be a wrong answer.
NOT_OBEYED: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tools": ([],),
    "top_k": (0, -1),
}


class RequestError(ValueError):
    """A request that is answered with 4xx."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class _Gone(Exception):
    """The client went away: stop generating."""


class ServerThread:
    """Runs the server in a thread. `lock` serialises engine calls with those of the parent's pipe."""

    def __init__(self, engine: Any, port: int | None = None) -> None:
        self.lock = threading.Lock()
        self._socket = _bind(port)
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(engine, self.lock), log_level="warning", lifespan="off", access_log=False, timeout_keep_alive=5
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True, name="aprqa-server")
        self._thread.start()
        deadline = time.monotonic() + START_LIMIT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise EngineError(f"the server did not start at {self.url} within {START_LIMIT_S:.0f} s")
            time.sleep(0.01)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _bind(port: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port or 0))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"port {port} on {HOST} cannot be used: {reason}; leave the port out") from None
    return listener


def make_app(engine: Any, lock: threading.Lock) -> Starlette:
    """The application; engine calls run in a thread pool, one at a time."""
    service = _Service(engine, lock)
    return Starlette(
        routes=[
            Route("/health", service.health, methods=["GET"]),
            Route("/v1/models", service.models, methods=["GET"]),
            Route("/v1/completions", service.completions, methods=["POST"]),
            Route("/v1/chat/completions", service.chat, methods=["POST"]),
        ],
        exception_handlers={404: _not_found, 405: _not_found},
    )


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _error(status, f"no route {request.method} {request.url.path}")


def _error(status: int, message: str) -> JSONResponse:
    body = {"message": message[:LONGEST_MESSAGE], "type": "invalid_request_error"}
    return JSONResponse({"error": body}, status_code=status)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


class _Service:
    def __init__(self, engine: Any, lock: threading.Lock) -> None:
        self._engine = engine
        self._lock = lock
        # One thread for all requests: in turn, and with one team of computing threads; each other thread makes its own.
        self._worker = ThreadPoolExecutor(1, "generation")
        engine.describe()  # an engine without a model is not served

    @property
    def _name(self) -> str:
        return str(self._engine.describe().details.get("architecture", "model"))

    async def health(self, request: Request) -> Response:
        description = self._engine.describe()
        return JSONResponse({"status": "ok", "engine": description.name, "compute_mode": description.backend})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "local"}]})

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, chat=False)

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, chat=True)

    async def _answer(self, request: Request, *, chat: bool) -> Response:
        try:
            body = await _body(request)
            generation = _generation(body, chat=chat)
            if unknown := unknown_to(self._engine, generation):
                raise RequestError(400, f"{unknown}: this server's engine does not obey it, leave it out")
            model = body.get("model")
            if model is not None and model != self._name:
                raise RequestError(404, f"model {_shown(model)} is not served here; this server has {self._name!r}")
            if _flag(body, "stream"):
                return await self._streamed(request, generation, chat)
            result = await self._wait(request, generation)
        except RequestError as error:
            return _error(error.status, str(error))
        except Exception as error:  # whatever an engine raises is one message to the client
            return JSONResponse({"error": {"message": _one_line(error), "type": "engine_error"}}, status_code=500)
        if result.error:
            return _error(400, result.error)
        return JSONResponse(_whole(result, chat=chat, model=self._name, offset=len(generation.prompt)))

    def _generate(self, generation: GenerationRequest, gone: threading.Event, sink: Any) -> GenerationResult:
        def progress(*event: object) -> None:
            if gone.is_set():
                raise _Gone("the client went away")

        try:
            with self._lock:
                progress()
                results: list[GenerationResult] = self._engine.generate([generation], progress, sink)
        except BaseException as error:
            if is_death(error):
                die(error)
            raise
        return results[0]

    async def _wait(self, request: Request, generation: GenerationRequest) -> GenerationResult:
        """The whole answer; a client that goes away meanwhile stops the generation."""
        gone = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._worker, self._generate, generation, gone, None)
        while not (await asyncio.wait([work], timeout=DISCONNECT_POLL_S))[0]:
            if await request.is_disconnected():
                gone.set()
        return work.result()

    async def _streamed(self, request: Request, generation: GenerationRequest, chat: bool) -> Response:
        """A stream, or a plain error where the generation does not begin: a status cannot follow its own body."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()
        gone = threading.Event()

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                put(self._generate(generation, gone, lambda *piece: put(piece)))
            except Exception as error:  # reported to the client
                put(error)

        loop.run_in_executor(self._worker, work)
        first = None
        while first is None:
            try:
                first = await asyncio.wait_for(queue.get(), DISCONNECT_POLL_S)
            except TimeoutError:
                if await request.is_disconnected():  # it waited for its turn and left
                    gone.set()
        if isinstance(first, Exception):
            raise first
        if isinstance(first, GenerationResult) and first.error:
            raise RequestError(400, first.error)
        return StreamingResponse(
            self._events(first, queue, gone, chat, len(generation.prompt)), media_type="text/event-stream"
        )

    async def _events(
        self, item: Any, queue: asyncio.Queue[Any], gone: threading.Event, chat: bool, offset: int
    ) -> AsyncIterator[bytes]:
        identity = _identity(chat, self._name)
        told = None if chat else CompletionLogprobs(offset)
        try:
            while isinstance(item, tuple):
                yield _event(identity | {"choices": [_piece(*item, chat=chat, told=told)]})
                item = await queue.get()
            if isinstance(item, GenerationResult) and not item.error:
                last: dict[str, Any] = {"index": 0, "finish_reason": item.finish_reason}
                last |= {"prompt_token_ids": item.prompt_ids, ("delta" if chat else "text"): {} if chat else ""}
                yield _event(identity | {"choices": [last], "usage": _usage(item)})
                yield b"data: [DONE]\n\n"
            else:
                message = item.error if isinstance(item, GenerationResult) else _one_line(item)
                yield _event({"error": {"message": message, "type": "engine_error"}})
        finally:
            gone.set()


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if isinstance(error, (EngineError, ModelError)) else f"{type(error).__name__}: {text}")[
        :LONGEST_MESSAGE
    ]


async def _body(request: Request) -> dict[str, Any]:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST_BODY:
            raise RequestError(413, f"the body is larger than {LARGEST_BODY} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise RequestError(400, "the body is not a JSON object")
    return body


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestError(400, f"{name}: found {_shown(value)}, limit true or false")
    return bool(value)


def _refuse_what_is_not_obeyed(body: dict[str, Any]) -> None:
    for name, neutral in NOT_OBEYED.items():
        value = body.get(name)
        if value is not None and not any(
            value == allowed and isinstance(value, bool) == isinstance(allowed, bool) for allowed in neutral
        ):
            raise RequestError(400, f"{name}: found {_shown(value)}; this server does not obey it, leave it out")


def _generation(body: dict[str, Any], *, chat: bool) -> GenerationRequest:
    _refuse_what_is_not_obeyed(body)
    prompt, messages = "", None
    if chat:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise RequestError(400, "messages: a list with at least one message is needed")
        for number, message in enumerate(messages):
            if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
                raise RequestError(422, f"messages[{number}]: role and content must be text")
    else:
        prompt = body.get("prompt")  # type: ignore[assignment]
        if not isinstance(prompt, str):
            raise RequestError(422, "prompt: a text is needed")
    # The newer name of the same field in chat.
    tokens = body.get("max_tokens", body.get("max_completion_tokens", DEFAULT_TOKENS))
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
        raise RequestError(400, f"max_tokens: found {_shown(tokens)}, limit 1 to {MOST_TOKENS}")
    temperature = body.get("temperature", 0.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
        raise RequestError(400, f"temperature: found {_shown(temperature)}, limit 0 to 2")
    seed = body.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RequestError(400, f"seed: found {_shown(seed)}, limit 0 to 2^63 - 1")
    request = GenerationRequest(
        key="http",
        prompt=prompt,
        mode="chat" if chat else "raw",
        max_new_tokens=tokens,
        temperature=float(temperature),
        seed=seed,
        messages=messages,
        top_p=_share(body),
        stop=_stops(body),
        logprobs=(_chat_logprobs if chat else _completion_logprobs)(body),
    )
    if request.problem is not None:
        raise RequestError(400, request.problem)
    return request


def _share(body: dict[str, Any]) -> float:
    share = body.get("top_p")
    if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1):
        raise RequestError(400, f"top_p: found {_shown(share)}, limit above 0 and at most 1")
    return 1.0 if share is None else float(share)


def _stops(body: dict[str, Any]) -> list[str]:
    stops = body.get("stop")
    stops = [] if stops is None else [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise RequestError(400, f"stop: found {_shown(body['stop'])}, limit a text or {MOST_STOPS} of them")
    return stops


def _completion_logprobs(body: dict[str, Any]) -> int | None:
    """How many best tokens a completion asks for; none with null or false, the only one of the two that is a number."""
    count, best = body.get("logprobs"), body.get("top_logprobs")
    if best is not None and (isinstance(best, bool) or best != 0):
        raise RequestError(400, f"top_logprobs: found {_shown(best)}; completions take logprobs, a number")
    if count is None or count is False:
        return None
    return _count("logprobs", count)


def _chat_logprobs(body: dict[str, Any]) -> int | None:
    wanted, count = _flag(body, "logprobs"), body.get("top_logprobs")
    if count is None:
        return 0 if wanted else None
    count = _count("top_logprobs", count)
    if count and not wanted:
        raise RequestError(400, f"top_logprobs: found {count} without logprobs true")
    return count if wanted else None


def _count(name: str, count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_LOGPROBS:
        raise RequestError(400, f"{name}: found {_shown(count)}, limit 0 to {MOST_LOGPROBS}")
    return count


def _identity(chat: bool, model: str) -> dict[str, Any]:
    kind = "chat.completion.chunk" if chat else "text_completion"
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _piece(
    text: str,
    ids: list[int],
    logprobs: list[TokenChoice] | None = None,
    *,
    chat: bool,
    told: CompletionLogprobs | None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": None, "token_ids": ids}
    if logprobs is not None:
        choice["logprobs"] = chat_logprobs(logprobs) if told is None else told.piece(logprobs)
    return choice | ({"delta": {"content": text}} if chat else {"text": text})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _usage(result: GenerationResult) -> dict[str, int]:
    prompt, new = len(result.prompt_ids or []), len(result.new_ids or [])
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def _whole(result: GenerationResult, *, chat: bool, model: str, offset: int) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": result.finish_reason,
        "token_ids": result.new_ids,
        "prompt_token_ids": result.prompt_ids,
    }
    if result.logprobs is not None:
        choice["logprobs"] = (
            chat_logprobs(result.logprobs) if chat else CompletionLogprobs(offset).piece(result.logprobs)
        )
    choice |= {"message": {"role": "assistant", "content": result.text}} if chat else {"text": result.text}
    identity = _identity(chat, model) | {"object": "chat.completion" if chat else "text_completion"}
    return identity | {"choices": [choice], "usage": _usage(result)}
