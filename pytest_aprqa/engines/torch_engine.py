"""The torch engine: a transformers model filled strictly with an artifact's canonical tensors, as it declares."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy
import torch
import transformers

from pytest_aprqa.engines.errors import EngineError, EngineLoadError, EngineUnavailable
from pytest_aprqa.engines.nucleus import nucleus
from pytest_aprqa.engines.packed_linear import pack_linears
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
from pytest_aprqa.engines.torch_model import (
    check_filled,
    check_names,
    compute_type,
    empty_model,
    fill,
    import_libraries,
)
from pytest_aprqa.models.artifact import Artifact, open_artifact
from pytest_aprqa.models.chat_template import render_chat
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.families import FAMILIES
from pytest_aprqa.models.token_bytes import token_bytes
from pytest_aprqa.models.tokenizer import TokenizerDeclaration

__all__ = ["TorchEngine", "TorchGpuEngine", "import_libraries"]  # the last is asked for by the fork server

BATCH_TOKENS = 16_384  # prompt and new tokens of one batch, padding included; bounds the key-value cache
PREFILL_TOKENS = 1024  # of a prompt at once: eager attention keeps this many rows of scores, not prompt x prompt
REPLACEMENT = "\ufffd"


class TorchEngine:
    """Eager attention, greedy or seeded sampling, left-padded batches. `generate` is not thread-safe."""

    device = "cpu"
    backend = "cpu"
    obeys = frozenset({"top_p", "stop", "logprobs"})

    def __init__(self, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._model: Any = None
        self._tokenizer: TokenizerDeclaration | None = None
        self._context = 0
        self._description: EngineDescription | None = None

    # -- loading -------------------------------------------------------------------------------------------------------

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Load an artifact. EngineLoadError names missing, extra and misshapen tensors."""
        self.close()
        with open_artifact(artifact) as opened:
            config = opened.config
            if config.architecture not in FAMILIES:
                raise EngineLoadError(
                    f"{artifact.path}: architecture {config.architecture!r} is not known to the torch engine;"
                    f" known: {', '.join(FAMILIES)}"
                )
            self._tokenizer = opened.tokenizer
            self._tokenizer.built  # noqa: B018 - a tokenizer that cannot be built is a load error
            names = check_names(opened, artifact)
            dtype = compute_type(opened, names)
            model = empty_model(opened, dtype, self.device)
            for number, name in enumerate(names):
                progress(f"loading {name}", number, len(names))
                fill(model, name, opened, dtype, self.device)
            if config.tied_embeddings:
                model.tie_weights()
            check_filled(model, artifact)
            packed = pack_linears(model) if dtype == torch.bfloat16 and self.device == "cpu" else 0
            progress("loaded", len(names), len(names))
            stored: dict[str, int] = {}
            for name in names:
                kind = opened.tensors.entry(name).dtype
                stored[kind] = stored.get(kind, 0) + 1
        self._model = model.eval()
        self._context = config.max_position_embeddings
        self._description = EngineDescription(
            name="torch",
            version=torch.__version__,
            backend=self.backend,
            dtype=str(dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            details={
                "architecture": config.architecture,
                "stored_types": stored,
                "rope_style": config.rope_style,
                "packed_layers": packed,
                "transformers": transformers.__version__,
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
        self._model = None
        self._description = None

    # -- generation ----------------------------------------------------------------------------------------------------

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """Results in the order of the requests. A request that cannot be begun gets `error` and no ids."""
        tokenizer = self._loaded()
        results: dict[int, GenerationResult] = {}
        ready: list[tuple[int, GenerationRequest, list[int]]] = []
        for position, request in enumerate(requests):
            try:
                ready.append((position, request, self._prompt_ids(request, tokenizer)))
            except (EngineError, ModelError) as error:
                results[position] = _refusal(request, str(error))
        done = len(results)
        for batch in _batches(ready):
            for position, result in self._run(batch, on_token, lambda n, t, d=done: progress("tokens", n, t)):
                results[position] = result
            done += len(batch)
            progress("prompts", done, len(requests))
        return [results[position] for position in range(len(requests))]

    def logits(self, ids: Sequence[int], *, first: int = 0) -> numpy.ndarray:
        """float32 (len(ids) - first, vocabulary) in one forward pass; the head is applied to those rows only."""
        rows = max(1, len(ids) - first)
        array: numpy.ndarray = self._forced("logits", ids, logits_to_keep=rows).logits[0].float().cpu().numpy()
        return array

    def hidden_states(self, ids: Sequence[int]) -> list[numpy.ndarray]:
        """float32 (len(ids), hidden) each: after the embedding, then after each layer; the last one is normed."""
        states = self._forced("hidden_states", ids, output_hidden_states=True).hidden_states
        return [state[0].float().cpu().numpy() for state in states]

    def encode(self, text: str) -> list[int]:
        """Ids of a raw prompt by the tokenizer that the artifact declares."""
        ids: list[int] = self._loaded().encode(text)
        return ids

    def _forced(self, what: str, ids: Sequence[int], **options: int) -> Any:
        """Output of one forward pass over given ids."""
        self._loaded()
        if not ids or len(ids) > self._context:
            raise EngineError(f"{what}: {len(ids)} ids, limit 1 to {self._context}")
        rows = self._model.config.vocab_size
        if not 0 <= min(ids) <= max(ids) < rows:
            raise EngineError(f"{what}: found ids {min(ids)} to {max(ids)}, limit 0 to {rows - 1}")
        with torch.inference_mode():
            return self._model(input_ids=torch.tensor([list(ids)], device=self.device), use_cache=False, **options)

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self._context

    def _loaded(self) -> TokenizerDeclaration:
        if self._model is None or self._tokenizer is None:
            raise EngineError("no model is loaded")
        return self._tokenizer

    def _prompt_ids(self, request: GenerationRequest, tokenizer: TokenizerDeclaration) -> list[int]:
        if request.max_new_tokens < 1:
            raise EngineError(f"max_new_tokens: found {request.max_new_tokens}, limit at least 1")
        text = request.prompt
        if request.mode == "chat":
            if not tokenizer.chat_template:
                raise EngineError("chat: the artifact declares no chat template")
            messages = request.messages or [{"role": "user", "content": request.prompt}]
            text = render_chat(
                tokenizer.chat_template,
                messages,
                bos_token=tokenizer.bos_token,
                eos_token=tokenizer.eos_token,
                path=tokenizer.path,
            )
            # The template writes its own special tokens: nothing is added to them.
            ids = tokenizer.encode(text, add_special=False)
        else:
            ids = tokenizer.encode(text)
        if not ids:
            raise EngineError("the prompt is empty and the tokenizer adds no token to begin with")
        if len(ids) >= self._context:
            raise EngineError(f"the prompt has {len(ids)} tokens, the context holds {self._context}")
        rows = self._model.config.vocab_size
        if max(ids) >= rows:
            raise EngineError(f"token id {max(ids)} of the prompt is outside the vocabulary of {rows} rows")
        return ids

    def _run(
        self, batch: list[tuple[int, GenerationRequest, list[int]]], on_token: TokenSink | None, progress: Any
    ) -> list[tuple[int, GenerationResult]]:
        started = time.monotonic()
        decoding = _Decoding(self._model, self._loaded(), [ids for *_, ids in batch], self.device)
        decoding.wanted = [request.logprobs for _, request, _ in batch]
        limits = [min(r.max_new_tokens, self._context - len(ids)) for _, r, ids in batch]
        samplers = [_Sampler(request) for _, request, _ in batch]
        stops = [StopSequences(request.stop) for _, request, _ in batch]
        first: float | None = None
        shown = ""
        steps = max(limits)
        for step in range(steps):
            decoding.step(samplers, limits)
            for row, stop in enumerate(stops):
                if stop and stop.found(self._text(decoding, row)):
                    decoding.finish(row)
            if first is None:
                first = time.monotonic() - started
            progress(step + 1, steps)
            if on_token is not None and len(batch) == 1:
                shown = _emit(self._text(decoding, 0), stops[0], decoding, shown, on_token)
            if decoding.all_finished:
                break
        results = []
        for row, (position, request, ids) in enumerate(batch):
            new = decoding.new_ids[row]
            text = self._text(decoding, row)
            results.append(
                (
                    position,
                    GenerationResult(
                        key=request.key,
                        text=stops[row].cut(text),
                        prompt_ids=ids,
                        new_ids=new,
                        finish_reason="stop" if decoding.stopped[row] or stops[row].found(text) else "length",
                        seconds=decoding.finished_at[row] - started,
                        first_token_seconds=first,
                        logprobs=decoding.choices[row] if request.logprobs is not None else None,
                    ),
                )
            )
        return results

    def _text(self, decoding: _Decoding, row: int) -> str:
        text: str = self._loaded().decode(decoding.text_ids(row), skip_special=True)
        return text


class TorchGpuEngine(TorchEngine):
    """The same on the first visible CUDA device."""

    device = "cuda"
    backend = "gpu"

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """EngineUnavailable where torch cannot use the device that the driver shows; else as on the CPU."""
        if not torch.cuda.is_available():
            built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
            raise EngineUnavailable(f"no GPU: torch {torch.__version__}, built {built}, can use no CUDA device")
        return super().load(artifact, progress)


class _Sampler:
    """Seeded sampling of one request; at temperature 0 it does not sample and the largest logit is taken."""

    def __init__(self, request: GenerationRequest) -> None:
        self.samples = request.temperature > 0
        self._temperature = request.temperature
        self._share = request.top_p
        self._generator = torch.Generator().manual_seed(request.seed)

    def pick(self, logits: torch.Tensor) -> int:
        logits = logits.double().cpu()
        # The largest becomes 0 before the division: the smallest temperature does not make it infinite.
        weights = torch.softmax((logits - logits.max()) / self._temperature, dim=-1)
        if self._share < 1:
            weights = torch.from_numpy(nucleus(weights.numpy(), self._share))
        return int(torch.multinomial(weights, 1, generator=self._generator))


class _Decoding:
    """Token by token decoding of a left-padded batch with a key-value cache."""

    def __init__(self, model: Any, tokenizer: TokenizerDeclaration, prompts: list[list[int]], device: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._ends = tokenizer.end_ids
        longest = max(len(ids) for ids in prompts)
        self._ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=device)
        self._mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._cache: Any = transformers.DynamicCache()
        self.new_ids: list[list[int]] = [[] for _ in prompts]
        self.wanted: list[int | None] = [None] * len(prompts)  # how many log-probabilities at each token
        self.choices: list[list[TokenChoice]] = [[] for _ in prompts]
        self.stopped = [False] * len(prompts)
        self._finished = [False] * len(prompts)
        self.finished_at = [time.monotonic()] * len(prompts)

    @property
    def all_finished(self) -> bool:
        """True when every row stopped or reached its limit."""
        return all(self._finished)

    def finish(self, row: int) -> None:
        """No more tokens for a row."""
        if not self._finished[row]:
            self._finished[row] = True
            self.finished_at[row] = time.monotonic()

    def text_ids(self, row: int) -> list[int]:
        """New ids that are text: the id that ended the row is not, even where it is an ordinary token."""
        ids = self.new_ids[row]
        return ids[:-1] if self.stopped[row] else ids

    def step(self, samplers: list[_Sampler], limits: list[int]) -> None:
        """One new token for every unfinished row."""
        logits = self._forward()
        # The sum reads each logit once; where it is not finite, each is looked at.
        if not bool(torch.isfinite(logits.sum())) and not bool(torch.isfinite(logits).all()):
            raise EngineError("the model computes logits that are NaN or infinite")
        greedy = logits.argmax(dim=-1).tolist()
        chosen = []
        for row, sampler in enumerate(samplers):
            token = 0
            if not self._finished[row]:
                token = sampler.pick(logits[row]) if sampler.samples else greedy[row]
                self.new_ids[row].append(token)
                self._remember(row, logits[row], token)
                self.stopped[row] = token in self._ends
                if self.stopped[row] or len(self.new_ids[row]) >= limits[row]:
                    self.finish(row)
            chosen.append([token])
        self._ids = torch.tensor(chosen, device=self._ids.device)
        self._mask = torch.cat([self._mask, torch.ones_like(self._ids)], dim=-1)
        self._positions = self._positions[:, -1:] + 1

    def _remember(self, row: int, logits: torch.Tensor, token: int) -> None:
        count = self.wanted[row]
        if count is not None:
            bytes_of = functools.partial(token_bytes, self._tokenizer)
            self.choices[row].append(token_choice(logits.cpu().numpy(), token, count, bytes_of))

    def _forward(self) -> torch.Tensor:
        """Logits (rows, vocabulary) after the ids that the cache does not hold yet."""
        known = self._mask.shape[1] - self._ids.shape[1]
        with torch.inference_mode():
            for begin in range(0, self._ids.shape[1], PREFILL_TOKENS):
                end = min(begin + PREFILL_TOKENS, self._ids.shape[1])
                output = self._model(
                    input_ids=self._ids[:, begin:end],
                    attention_mask=self._mask[:, : known + end],
                    position_ids=self._positions[:, begin:end],
                    past_key_values=self._cache,
                    use_cache=True,
                    logits_to_keep=1,  # all positions of a batch times a large vocabulary are gigabytes
                )
                self._cache = output.past_key_values
        return output.logits[:, -1].float()


def _emit(text: str, stop: StopSequences, decoding: _Decoding, shown: str, on_token: TokenSink) -> str:
    """Send what is new of the only row's text; half a character, or what may become a stop text, waits."""
    text = stop.cut(text) if decoding.all_finished else stop.settled(text)
    piece = text[len(shown) :] if text.startswith(shown) else ""
    if piece.endswith(REPLACEMENT) and not decoding.all_finished:
        piece = ""
    if decoding.wanted[0] is None:
        on_token(piece, decoding.new_ids[0][-1:])
    else:
        on_token(piece, decoding.new_ids[0][-1:], decoding.choices[0][-1:])
    return shown + piece


def _batches(ready: list[Any]) -> list[list[Any]]:
    """Split so that rows x (longest prompt + new tokens) stays within BATCH_TOKENS; order is kept."""
    batches: list[list[Any]] = []
    width = 0
    for item in ready:
        _, request, ids = item
        width = max(width, len(ids) + request.max_new_tokens)
        if batches and width * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(item)
        else:
            batches.append([item])
            width = len(ids) + request.max_new_tokens
    return batches


def _refusal(request: GenerationRequest, error: str) -> GenerationResult:
    return GenerationResult(
        key=request.key, text="", prompt_ids=None, new_ids=None, finish_reason="error", seconds=0.0, error=error
    )
