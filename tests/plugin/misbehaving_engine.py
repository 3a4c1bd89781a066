"""An engine without a model that answers every prompt with "4", sanely, but for the one fault that APRQA_FAULT names.

It runs in the engine's child process behind the real host and the real server; faults of the server are put in front
of the real application, as a broken proxy would.
"""

from __future__ import annotations

import json
import os
import time

from pytest_aprqa.engines import server
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.protocol import EngineDescription, GenerationResult
from pytest_aprqa.models.artifact import open_artifact

FAULT = os.environ.get("APRQA_FAULT", "")
ANSWER = "4 is the answer to that question, I am sure."


class MisbehavingEngine:
    def __init__(self, threads=None):
        self._calls = 0
        self._broken = False
        self._file = None

    def load(self, artifact, progress):
        self._context = open_artifact(artifact)
        self._file = self._context.__enter__()
        return self.describe()

    def describe(self):
        return EngineDescription("misbehaving", "1", "cpu", "none", 1)

    def close(self):
        self._context.__exit__(None, None, None)

    def generate(self, requests, progress, on_token=None):
        self._calls += 1
        return [self._one(request, len(requests), on_token) for request in requests]

    def _one(self, request, batch, on_token):
        tokenizer = self._file.tokenizer
        prompt = request.prompt
        if request.messages:
            prompt = request.messages[-1]["content"]
        if FAULT == "unicode-lost":
            prompt = prompt.encode("ascii", "replace").decode()
        ids = tokenizer.encode(prompt)
        limit = self._file.config.max_position_embeddings
        if len(ids) > limit:
            if FAULT == "refuses-without-a-limit":
                raise EngineError("the prompt is too long")
            if FAULT != "cuts-long-prompts":
                raise EngineError(f"the prompt has {len(ids)} tokens, the context has {limit}")
            ids = ids[-limit:]
        if FAULT == "broken-by-an-empty-prompt" and not prompt:
            self._broken = True
        text = "" if self._broken else ANSWER
        if FAULT == "depends-on-the-batch" and batch > 1:
            text = "5 " + text
        if FAULT == "drifts":
            text = f"{self._calls} {text}"
        new = tokenizer.encode(text)
        if FAULT != "ignores-the-token-limit":
            new = new[: request.max_new_tokens]
        text = tokenizer.decode(new)
        if FAULT == "slow":
            time.sleep(0.2)
        if on_token is not None:
            for token in new:
                on_token(tokenizer.decode([token]), [token])
        return GenerationResult(request.key, text, ids, new, "stop", 0.01, 0.001)


class BrokenProxy:
    """ASGI in front of the server."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        path, pieces = scope.get("path", ""), 0

        async def changed_receive():
            message = await receive()
            if FAULT == "server-adds-a-space" and message["type"] == "http.request" and message["body"]:
                body = json.loads(message["body"])
                if isinstance(body.get("prompt"), str):
                    message = message | {"body": json.dumps(body | {"prompt": " " + body["prompt"]}).encode()}
            return message

        async def changed_send(message):
            nonlocal pieces
            starts, body = message["type"] == "http.response.start", message.get("body", b"")
            if FAULT == "health-says-503" and path == "/health" and starts:
                message = message | {"status": 503}
            if FAULT == "lists-no-model" and path == "/v1/models" and not starts:
                message = message | {"body": b'{"data": []}'.ljust(len(body))}
            if FAULT == "bad-request-is-200" and starts and 400 <= message["status"] < 500:
                message = message | {"status": 200}
            if FAULT == "stream-loses-a-piece" and body.startswith(b"data:"):
                pieces += 1
                message = message | {"body": b"" if pieces == 3 else body}
            if FAULT == "stream-without-an-end" and b"[DONE]" in body:
                message = message | {"body": body.replace(b"data: [DONE]", b": end      ")}
            if FAULT == "usage-counts-nothing" and body.startswith(b"{") and b'"usage"' in body:
                answer = json.loads(body)
                answer["usage"]["completion_tokens"] = 0
                message = message | {"body": json.dumps(answer, separators=(",", ":")).encode().ljust(len(body))}
            await send(message)

        await self._app(scope, changed_receive, changed_send)


_real_make_app = server.make_app
server.make_app = lambda engine, lock: BrokenProxy(_real_make_app(engine, lock))
