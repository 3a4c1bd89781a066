"""llama.cpp as an engine for GGUF: its own tokenizer and numbers, the file's own chat template used exactly once."""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import llama_cpp
import numpy

from pytest_aprqa.engines.errors import EngineError, EngineLoadError
from pytest_aprqa.engines.llama_model import LlamaModel
from pytest_aprqa.engines.nucleus import nucleus
from pytest_aprqa.engines.protocol import (
    EngineDescription,
    GenerationRequest,
    GenerationResult,
    Progress,
    TokenChoice,
    TokenSink,
)
from pytest_aprqa.engines.stop_sequences import StopSequences
from pytest_aprqa.engines.token_choices import token_choice
from pytest_aprqa.models.chat_template import render_chat
from pytest_aprqa.models.errors import ModelError

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact


class LlamaEngine:
    """Greedy or seeded sampling, one prompt after the other. `generate` is not thread-safe."""

    obeys = frozenset({"top_p", "stop", "logprobs"})

    def __init__(self, backend: str = "cpu", threads: int | None = None) -> None:
        self._backend = backend
        self._threads = threads or os.cpu_count() or 1
        self._model: LlamaModel | None = None
        self._artifact: Artifact | None = None
        self._description: EngineDescription | None = None

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Load a GGUF file. EngineLoadError with llama.cpp's own words; EngineUnavailable: no GPU in this build."""
        self.close()
        if artifact.format != "gguf":
            raise EngineLoadError(f"{artifact.path}: llama.cpp runs gguf, found {artifact.format}")
        self._model = model = LlamaModel(
            artifact.path,
            gpu=self._backend == "gpu",
            threads=self._threads,
            on_progress=lambda share: progress("loading", round(share * 100), 100),
        )
        self._artifact = artifact
        self._description = EngineDescription(
            name="llama.cpp",
            version=f"llama-cpp-python {llama_cpp.__version__}",
            backend=self._backend,
            dtype="as stored",
            threads=self._threads,
            details={
                "architecture": model.metadata("general.architecture"),
                "model": model.description,
                "context": model.declared_context,
                "pre_tokenizer": model.metadata("tokenizer.ggml.pre"),
            },
        )
        return self._description

    def describe(self) -> EngineDescription:
        """The loaded engine. EngineError before `load`."""
        if self._description is None:
            raise EngineError("no model is loaded")
        return self._description

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
        self._model = None
        self._description = None

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """Results in the order of the requests. A request that cannot be begun gets `error` and no ids."""
        model = self._loaded()
        results = []
        for number, request in enumerate(requests, 1):
            try:
                ids = self._prompt_ids(request, model)
                result = _Generation(model, request, ids, progress, on_token).run()
            except (EngineError, ModelError) as error:
                result = GenerationResult(request.key, "", None, None, "error", 0.0, error=str(error))
            results.append(result)
            progress("prompts", number, len(requests))
        return results

    def logits(self, ids: Sequence[int], *, first: int = 0, lasting: bool = True) -> numpy.ndarray:
        """float32 (len(ids) - first, vocabulary), teacher-forced, in batches; rows before `first` are not computed.

        Not `lasting`: valid until the next call, which saves a copy.
        """
        model = self._loaded()
        if not ids or len(ids) > model.declared_context:
            raise EngineError(f"logits: {len(ids)} ids, limit 1 to {model.declared_context}")
        if not 0 <= min(ids) <= max(ids) < model.rows:
            raise EngineError(f"logits: found ids {min(ids)} to {max(ids)}, limit 0 to {model.rows - 1}")
        model.forget(len(ids))
        return model.decode(ids, first=first, lasting=lasting)

    def encode(self, text: str) -> list[int]:
        """Ids of a raw prompt by the file's tokenizer as llama.cpp understands it."""
        return self._loaded().encode(text, add_special=True)

    def _loaded(self) -> LlamaModel:
        if self._model is None:
            raise EngineError("no model is loaded")
        return self._model

    def _prompt_ids(self, request: GenerationRequest, model: LlamaModel) -> list[int]:
        if request.max_new_tokens < 1:
            raise EngineError(f"max_new_tokens: found {request.max_new_tokens}, limit at least 1")
        if request.mode == "chat":
            ids = model.encode(self._rendered(request, model), add_special=False)
        else:
            ids = model.encode(request.prompt, add_special=True)
        if not ids:
            raise EngineError("the prompt is empty and the tokenizer adds no token to begin with")
        if len(ids) >= model.declared_context:
            raise EngineError(f"the prompt has {len(ids)} tokens, the context holds {model.declared_context}")
        return ids

    def _rendered(self, request: GenerationRequest, model: LlamaModel) -> str:
        assert self._artifact is not None
        template = model.chat_template
        if not template:
            raise EngineError("chat: the artifact declares no chat template")
        messages = request.messages or [{"role": "user", "content": request.prompt}]
        # The template writes its own special tokens: nothing is added to them.
        return render_chat(
            template, messages, bos_token=model.bos_text, eos_token=model.eos_text, path=self._artifact.path
        )


class _Generation:
    """Token by token; text is complete characters only, half a character waits for its other bytes."""

    def __init__(
        self,
        model: LlamaModel,
        request: GenerationRequest,
        prompt_ids: list[int],
        progress: Progress,
        on_token: TokenSink | None,
    ) -> None:
        self._model = model
        self._request = request
        self._prompt_ids = prompt_ids
        self._progress = progress
        self._on_token = on_token
        self._random = numpy.random.default_rng(request.seed) if request.temperature > 0 else None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = StopSequences(request.stop)
        self._text = ""
        self._shown = ""
        self._choices: list[TokenChoice] = []

    def run(self) -> GenerationResult:
        """Until a token ends it, or the limit, or the end of the context."""
        started = time.monotonic()
        limit = min(self._request.max_new_tokens, self._model.declared_context - len(self._prompt_ids))
        self._model.forget(len(self._prompt_ids) + limit)
        feed = self._prompt_ids
        new: list[int] = []
        first: float | None = None
        stopped = False
        while len(new) < limit and not stopped:
            logits = self._model.decode(feed)[0]
            token = self._pick(logits)
            new.append(token)
            if self._request.logprobs is not None:
                self._choices.append(token_choice(logits, token, self._request.logprobs, self._bytes_of))
            first = first if first is not None else time.monotonic() - started
            ended = self._model.ends(token)
            self._text += self._decoder.decode(b"" if ended else self._model.piece(token), final=ended)
            stopped = ended or self._stop.found(self._text)
            self._emit(token, last=stopped or len(new) == limit)
            self._progress("tokens", len(new), limit)
            feed = [token]
        return GenerationResult(
            key=self._request.key,
            text=self._shown,
            prompt_ids=self._prompt_ids,
            new_ids=new,
            finish_reason="stop" if stopped else "length",
            seconds=time.monotonic() - started,
            first_token_seconds=first,
            logprobs=self._choices if self._request.logprobs is not None else None,
        )

    def _bytes_of(self, token: int) -> bytes:
        return self._model.piece(token, special=True)

    def _pick(self, logits: numpy.ndarray) -> int:
        if not numpy.isfinite(logits).all():
            raise EngineError("the model computes logits that are NaN or infinite")
        if self._random is None:
            return int(logits.argmax())
        wide = (logits.astype(numpy.float64) - logits.max()) / self._request.temperature
        weights = numpy.exp(wide)
        return int(self._random.choice(len(weights), p=nucleus(weights / weights.sum(), self._request.top_p)))

    def _emit(self, token: int, *, last: bool) -> None:
        if last:
            self._text += self._decoder.decode(b"", final=True)
        settled = self._stop.cut(self._text) if last else self._stop.settled(self._text)
        piece, self._shown = settled[len(self._shown) :], settled
        if self._on_token is None:
            return
        if self._request.logprobs is None:
            self._on_token(piece, [token])
        else:
            self._on_token(piece, [token], self._choices[-1:])
