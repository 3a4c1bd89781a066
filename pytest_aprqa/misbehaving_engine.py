"""Engines with one fault each, for `--falsify`: what proves that the checks of behaviour can fail.

They run in the engine's child process, behind the real host and the real server. `module:fault_name` makes one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_aprqa.engines.errors import EngineError, EngineUnavailable
from pytest_aprqa.engines.protocol import (
    EngineDescription,
    GenerationRequest,
    GenerationResult,
    Progress,
    TokenSink,
)
from pytest_aprqa.models.artifact import Artifact, OpenArtifact, open_artifact
from pytest_aprqa.models.chat_template import render_chat

ANSWER = "4 is the answer to that question, I am sure."
SLOW_S = 0.2
SEEN_S = 0.5  # as long as a server needs to see that a client has closed its half
LONG_TOKENS, LONG_S, LONG_STEP_S = 128, 2.5, 0.01  # a generation that is long enough to be abandoned
ROUNDED_STEPS = 1.0  # steps between zero and the largest weight of a row: what 2 bits hold
CARELESS = "rounds_weights"
SAMPLERS = ("halves_the_temperature", "ignores_the_seed", "has_one_seed")
IGNORED_FIELDS = {"ignores_top_p": "top_p", "ignores_stop_sequences": "stop", "ignores_logprobs": "logprobs"}
MISLEADING = (
    "logprobs_of_another_model",
    "logprobs_after_temperature",
    "logprobs_of_the_next_token",
    "logprobs_to_base_ten",
    "streams_other_logprobs",
)
LEFT_BEHIND_S = 20


def __getattr__(name: str) -> Any:
    """The engine with the fault `name`; "no_fault" has none."""
    if name.startswith("_"):
        raise AttributeError(name)
    if name == CARELESS:
        return _careless_engine
    if name in SAMPLERS:
        return functools.partial(_sampling_engine, fault=name)
    if name in MISLEADING:
        from pytest_aprqa.misleading_logprobs import misleading_engine

        return functools.partial(misleading_engine, fault=name)
    if name in IGNORED_FIELDS:
        return functools.partial(_deaf_engine, fault=name)
    return functools.partial(MisbehavingEngine, fault=name)


class MisbehavingEngine:
    """An engine without a model: it answers every prompt with one sentence, sanely, but for its fault."""

    def __init__(self, threads: int | None = None, backend: str = "cpu", fault: str = "no_fault") -> None:
        self._fault = fault
        self._calls = 0
        self._broken = False
        self._context: Any = None
        self._file: OpenArtifact | None = None
        _put_before_server(fault)
        if fault == "leaves_the_port":
            _lend_the_socket()

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Open the artifact for its tokenizer; the weights are not read."""
        self.close()
        self._context = open_artifact(artifact)
        self._file = self._context.__enter__()
        if self._fault == "leaves_a_process":
            sleep = f"import time; time.sleep({LEFT_BEHIND_S})"
            subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
        return self.describe()

    def describe(self) -> EngineDescription:
        """What it is, frankly."""
        return EngineDescription("misbehaving", "1", "cpu", "none", 1)

    def close(self) -> None:
        """Close the artifact."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None

    def logits(self, ids: Sequence[int]) -> Any:
        """It has no logits. Raises EngineUnavailable."""
        raise EngineUnavailable("an engine without a model has no logits")

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """The sentence, or what the fault makes of it. Raises EngineError for a prompt beyond the context."""
        self._calls += 1
        return [self._one(request, len(requests), progress, on_token) for request in requests]

    def _one(
        self, request: GenerationRequest, batch: int, progress: Progress, on_token: TokenSink | None
    ) -> GenerationResult:
        assert self._file is not None
        tokenizer = self._file.tokenizer
        ids = self._prompt_ids(request)
        new = tokenizer.encode(self._text(batch))
        if self._fault != "ignores_the_token_limit":
            new = new[: request.max_new_tokens]
        if self._fault == "slow":
            time.sleep(SLOW_S)
        if self._fault == "broken_by_a_half_closed_client":
            time.sleep(SEEN_S)
        if on_token is not None and self._fault == "streams_at_once":
            on_token(tokenizer.decode(new), new)
        elif on_token is not None:
            for token in new:
                on_token(tokenizer.decode([token]), [token])
        if request.max_new_tokens == LONG_TOKENS:
            for step in range(int(LONG_S / LONG_STEP_S)):
                time.sleep(LONG_STEP_S)
                if self._fault != "generates_for_nobody":
                    progress("tokens", step, LONG_TOKENS)
        return GenerationResult(request.key, self._decoded(new), ids, new, "stop", 0.01, 0.001)

    def _prompt_ids(self, request: GenerationRequest) -> list[int]:
        assert self._file is not None
        prompt, chat = request.prompt, request.mode == "chat" or bool(request.messages)
        if chat:
            turns = request.messages or [{"role": "user", "content": prompt}]
            prompt = self._rendered(turns[-1:] if self._fault == "forgets_the_first_turn" else turns)
        if self._fault == ("template_twice" if chat else "template_on_raw_prompts"):
            prompt = self._rendered([{"role": "user", "content": prompt}])
        if self._fault == "unicode_lost":
            prompt = prompt.encode("ascii", "replace").decode()
        if self._fault == "broken_by_an_empty_prompt" and not prompt:
            self._broken = True
        ids = self._file.tokenizer.encode(prompt, add_special=not chat)
        limit = self._file.config.max_position_embeddings
        if len(ids) > limit:
            if self._fault == "refuses_without_a_limit":
                raise EngineError("the prompt is too long")
            if self._fault != "cuts_long_prompts":
                raise EngineError(f"the prompt has {len(ids)} tokens, the context has {limit}")
        return ids[-limit:]

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        assert self._file is not None
        tokenizer = self._file.tokenizer
        return render_chat(
            tokenizer.chat_template or "",
            messages,
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            path=tokenizer.path,
        )

    def _decoded(self, ids: list[int]) -> str:
        assert self._file is not None
        tokenizer = self._file.tokenizer
        if self._fault == "prints_byte_symbols":
            return "".join(tokenizer.tokens[one] for one in ids)
        return tokenizer.decode(ids)

    def _text(self, batch: int) -> str:
        if self._broken:
            return ""
        if self._fault == "depends_on_the_batch" and batch > 1:
            return f"5 {ANSWER}"
        return f"{self._calls} {ANSWER}" if self._fault == "drifts" else ANSWER


def _careless_engine(threads: int | None = None, backend: str = "cpu") -> Any:
    """The torch engine over weights that it rounds to 2 bits without a word."""
    from pytest_aprqa.engines.torch_engine import TorchEngine

    class CarelessEngine(TorchEngine):
        def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
            import torch

            description = super().load(artifact, progress)
            with torch.no_grad():
                for weight in self._model.parameters():
                    if weight.dim() > 1:
                        step = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / ROUNDED_STEPS
                        weight.copy_((weight / step).round() * step)
            return description

    return CarelessEngine(threads)


def _sampling_engine(threads: int | None = None, backend: str = "cpu", fault: str = "") -> Any:
    """The torch engine with a sampler that does something else than it is asked."""
    from pytest_aprqa.engines.torch_engine import TorchEngine

    class SamplingEngine(TorchEngine):
        def generate(self, requests: Sequence[GenerationRequest], *arguments: Any) -> list[GenerationResult]:
            if fault == "halves_the_temperature":
                changed = [dataclasses.replace(one, temperature=one.temperature / 2) for one in requests]
            elif fault == "has_one_seed":
                changed = [dataclasses.replace(one, seed=42) for one in requests]
            else:
                changed = [
                    dataclasses.replace(one, seed=time.time_ns() + number) for number, one in enumerate(requests)
                ]
            return super().generate(changed, *arguments)

    return SamplingEngine(threads)


def _deaf_engine(threads: int | None = None, backend: str = "cpu", fault: str = "") -> Any:
    """The torch engine behind a server that ignores a field of the request without a word."""
    from pytest_aprqa.engines.torch_engine import TorchEngine

    _put_before_server(fault)
    return TorchEngine(threads)


class BrokenProxy:
    """ASGI in front of the real server: faults of a server, or of a proxy before it."""

    def __init__(self, app: Any, fault: str) -> None:
        self._app = app
        self._fault = fault
        self._in_flight = 0
        self._broken = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on, changed as the fault wants it."""
        path, pieces, slow, answered = scope.get("path", ""), 0, False, False
        self._in_flight += 1
        beside_others = self._in_flight > 1

        async def changed_receive() -> Any:
            nonlocal slow
            message = await receive()
            slow = slow or bool(message.get("body") and message.get("more_body"))
            if message["type"] == "http.disconnect" and not answered:
                self._broken = self._fault == "broken_by_a_half_closed_client"
            return self._request(message)

        async def changed_send(message: Any) -> None:
            nonlocal pieces, answered
            answered = True
            if self._broken and message["type"] == "http.response.start":
                message = message | {"status": 503}
            pieces += message.get("body", b"").startswith(b"data:")
            if self._fault == "slow_clients_are_refused" and slow and message["type"] == "http.response.start":
                message = message | {"status": 408}
            if self._fault == "mixes_clients" and beside_others:
                message = _with_answer(message, lambda answer: answer["choices"][0].update(text="another client's"))
            await send(self._response(message, path, pieces))

        try:
            await self._app(scope, changed_receive, changed_send)
        finally:
            self._in_flight -= 1

    def _request(self, message: Any) -> Any:
        if self._fault == "server_adds_a_space" and message["type"] == "http.request" and message["body"]:
            body = _json_or_none(message["body"])
            if isinstance(body, dict) and isinstance(body.get("prompt"), str):
                return message | {"body": json.dumps(body | {"prompt": " " + body["prompt"]}).encode()}
        if self._fault in IGNORED_FIELDS and message["type"] == "http.request" and message["body"]:
            body = _json_or_none(message["body"])
            if isinstance(body, dict):
                body.pop(IGNORED_FIELDS[self._fault], None)
                return message | {"body": json.dumps(body).encode()}
        return message

    def _response(self, message: Any, path: str, pieces: int) -> Any:
        body = message.get("body", b"")
        if message["type"] == "http.response.start":
            return message | {"status": self._status(message["status"], path)}
        if self._fault == "lists_no_model" and path == "/v1/models":
            return message | {"body": b'{"data": []}'.ljust(len(body))}
        if self._fault == "stream_loses_a_piece" and pieces == 3 and body.startswith(b"data:"):
            return message | {"body": b""}
        if self._fault == "stream_without_an_end" and b"[DONE]" in body:
            return message | {"body": body.replace(b"data: [DONE]", b": end      ")}
        if self._fault == "usage_counts_nothing":
            return _with_answer(message, lambda answer: answer["usage"].update(completion_tokens=0))
        if self._fault == "usage_counts_one_more":
            return _with_answer(message, lambda a: a["usage"].update(prompt_tokens=a["usage"]["prompt_tokens"] + 1))
        return message

    def _status(self, status: int, path: str) -> int:
        if self._fault == "health_says_503" and path == "/health":
            return 503
        if self._fault == "huge_limits_are_500" and status == 400:
            return 500
        return 200 if self._fault == "bad_request_is_200" and 400 <= status < 500 else status


def _with_answer(message: Any, change: Callable[[Any], object]) -> Any:
    """A message whose body, if it is a whole answer, is changed in place; no longer than it was."""
    body = message.get("body", b"")
    if not (body.startswith(b"{") and b'"usage"' in body):
        return message
    answer = json.loads(body)
    change(answer)
    return message | {"body": json.dumps(answer, separators=(",", ":")).encode().ljust(len(body))}


def _json_or_none(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _lend_the_socket() -> None:
    """Let a process outside the engine's session hold the listening socket of every server that is made here."""
    from pytest_aprqa.engines import server

    real = server._bind

    def bind(port: int | None) -> Any:
        listener = real(port)
        sleep = f"import time; time.sleep({LEFT_BEHIND_S})"
        apart = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        holder = [sys.executable, "-c", sleep]
        subprocess.Popen(holder, start_new_session=True, pass_fds=[listener.fileno()], env=apart)
        return listener

    server._bind = bind


def _put_before_server(fault: str) -> None:
    """Put the proxy before every server that this process makes. Called in the engine's child process only."""
    from pytest_aprqa.engines import server

    real = server.make_app

    def make_app(*arguments: Any, **keywords: Any) -> Any:
        return BrokenProxy(real(*arguments, **keywords), fault)

    server.make_app = make_app
