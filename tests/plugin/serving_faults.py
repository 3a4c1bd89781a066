"""An engine and a server with the one fault that APRQA_FAULT names; answers depend on the prompt."""

from __future__ import annotations

import asyncio
import json
import os
import time

from pytest_aprqa.engines import server
from pytest_aprqa.engines.protocol import EngineDescription, GenerationResult
from pytest_aprqa.models.artifact import open_artifact

FAULT = os.environ.get("APRQA_FAULT", "")


class ServingFaults:
    def __init__(self, threads=None):
        self._tokenizer = None

    def load(self, artifact, progress):
        with open_artifact(artifact) as opened:
            self._tokenizer = opened.tokenizer
        return self.describe()

    def describe(self):
        return EngineDescription("serving-faults", "1", "cpu", "none", 1)

    def close(self):
        pass

    def generate(self, requests, progress, on_token=None):
        return [self._one(request, progress, on_token) for request in requests]

    def _one(self, request, progress, on_token):
        encode, decode = self._tokenizer.encode, self._tokenizer.decode
        ids = encode(request.prompt)
        text = f" {request.prompt} is the question"
        new = encode(text)[: request.max_new_tokens]
        for number, token in enumerate(new):
            if on_token is not None and FAULT != "stream-at-once":
                on_token(decode([token]), [token])
            progress("tokens", number, len(new))
        text = decode(new)
        if on_token is not None and FAULT == "stream-at-once":
            on_token(text, new)
        if request.max_new_tokens == 128:  # the long generation, 2.5 s of it
            for _ in range(250):
                time.sleep(0.01)
                if FAULT != "generates-for-nobody":
                    progress("tokens", 0, 1)
        if FAULT == "byte-symbols":
            text = text.replace(" ", "\u0120")
        return GenerationResult(request.key, text, ids, new, "length", 0.01, 0.001)


class Proxy:
    """ASGI in front of the server."""

    def __init__(self, app):
        self._app = app
        self._in_flight = 0
        self._lock = asyncio.Lock()

    async def __call__(self, scope, receive, send):
        if FAULT == "one-client-at-a-time" and scope.get("path") == "/v1/completions":
            async with self._lock:
                return await self._app(scope, receive, send)
        self._in_flight += 1
        others = self._in_flight > 1

        async def changed_send(message):
            body = message.get("body", b"")
            if body.startswith(b"{") and b'"usage"' in body:
                answer = json.loads(body)
                if FAULT == "usage-lies":
                    answer["usage"]["prompt_tokens"] += 1
                if FAULT == "mixes-clients" and others:
                    answer["choices"][0]["text"] = "x" * len(answer["choices"][0]["text"])
                message = message | {"body": json.dumps(answer, separators=(",", ":")).encode().ljust(len(body))}
            if FAULT == "huge-limit-is-500" and message["type"] == "http.response.start" and message["status"] == 400:
                message = message | {"status": 500}
            await send(message)

        try:
            return await self._app(scope, receive, changed_send)
        finally:
            self._in_flight -= 1


_real_make_app = server.make_app
server.make_app = lambda engine, lock: Proxy(_real_make_app(engine, lock))
