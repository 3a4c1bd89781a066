"""What every engine understands: load, generate, logits, describe, close. Plain data that crosses a pipe as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact

# (what is being done, how much is done, how much there is)
Progress = Callable[[str, int, int], None]
MODES = ("raw", "chat")
MOST_LOGPROBS = 20  # best tokens of which log-probabilities are told; the limit of the OpenAI interface
MOST_STOPS = 4  # texts that end an answer; the limit of the OpenAI interface
LONGEST_STOP = 256  # characters


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt. `mode` raw completes the text, chat renders it through the model's own template as a user turn.

    `top_p`: share of the probability that is drawn from; `stop`: texts that end the answer and are no part of it;
    `logprobs`: of how many best tokens the log-probabilities are told at each new token, 0 those of the answer only. An
    engine that obeys them says so in `obeys`; of another one, such a request is refused before it.
    """

    key: str
    prompt: str
    mode: str = "raw"
    max_new_tokens: int = 32
    temperature: float = 0.0
    seed: int = 0
    messages: list[dict[str, str]] | None = None
    top_p: float = 1.0
    stop: list[str] = field(default_factory=list)
    logprobs: int | None = None

    @property
    def asks_for(self) -> set[str]:
        """What an engine may not know to obey."""
        asked = {"top_p": self.top_p != 1, "stop": bool(self.stop), "logprobs": self.logprobs is not None}
        return {name for name, is_asked in asked.items() if is_asked}

    @property
    def problem(self) -> str | None:
        """Why no engine can be asked this, in one line: the argument, its value and its limit. None: it can."""
        if self.max_new_tokens < 1:
            return f"max_new_tokens: found {self.max_new_tokens}, limit at least 1"
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            return f"temperature: found {self.temperature}, limit a finite number of at least 0"
        if self.mode not in MODES:
            return f"mode: found {self.mode!r}, limit {' or '.join(MODES)}"
        if self.seed < 0:
            return f"seed: found {self.seed}, limit at least 0"
        if not 0 < self.top_p <= 1:
            return f"top_p: found {self.top_p}, limit above 0 and at most 1"
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            return f"logprobs: found {self.logprobs}, limit 0 to {MOST_LOGPROBS}"
        if len(self.stop) > MOST_STOPS or not all(0 < len(text) <= LONGEST_STOP for text in self.stop):
            return f"stop: found {self.stop!r:.80}, limit {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters"
        texts = [self.prompt, *self.stop, *(text for message in self.messages or [] for text in message.values())]
        for text in texts:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                return f"prompt: no text: half a character (U+{ord(text[error.start]):04X}) at position {error.start}"
        return None


def unknown_to(engine: Any, request: GenerationRequest) -> str:
    """What a request asks for and an engine does not say that it obeys, in words; empty: nothing."""
    return " and ".join(sorted(request.asks_for - set(getattr(engine, "obeys", ()))))


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithm of a token's probability by the model's own logits: before temperature, top-p and the like.

    `text` is what the token writes, its bytes where that is half a character; `id` None where an engine does not tell.
    """

    text: str
    logprob: float
    id: int | None = None
    bytes: list[int] | None = None


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One new token and, best first, the tokens that could have been in its place."""

    chosen: TokenLogprob
    best: list[TokenLogprob]


class TokenSink(Protocol):
    """Called with a piece of the text, its ids and, of a request with `logprobs`, how likely they were."""

    def __call__(self, text: str, ids: list[int], logprobs: list[TokenChoice] | None = None, /) -> None:
        """The third argument is left out where none are asked for."""


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What came of one request. Ids are None where an engine does not tell them; `error` set means no answer.

    `prompt_tokens` and `new_tokens` are the engine's own counts, for engines that tell only the numbers.
    """

    key: str
    text: str
    prompt_ids: list[int] | None
    new_ids: list[int] | None
    finish_reason: str
    seconds: float
    first_token_seconds: float | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    logprobs: list[TokenChoice] | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> GenerationResult:
        """From the fields as `dataclasses.asdict` gives them and JSON keeps them."""
        told = fields.get("logprobs")
        if told is None:
            return cls(**fields)
        choices = [
            TokenChoice(TokenLogprob(**one["chosen"]), [TokenLogprob(**other) for other in one["best"]]) for one in told
        ]
        return cls(**(fields | {"logprobs": choices}))

    @property
    def prompt_length(self) -> int | None:
        """Number of prompt tokens: of the ids, else as the engine counts them; None where it tells neither."""
        return len(self.prompt_ids) if self.prompt_ids is not None else self.prompt_tokens

    @property
    def new_length(self) -> int | None:
        """Number of new tokens: of the ids, else as the engine counts them; None where it tells neither."""
        return len(self.new_ids) if self.new_ids is not None else self.new_tokens


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """Which engine really ran, on what, in which type, with how many threads."""

    name: str
    version: str
    backend: str
    dtype: str
    threads: int
    details: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Implemented by every engine; lives in the child process."""

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Load strictly. Raises EngineLoadError, ModelError or FormatError with one line."""

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """Results in the order of the requests; `on_token` is called only for a single request."""

    def logits(self, ids: Sequence[int]) -> Any:
        """float32 array of shape (len(ids), vocabulary), teacher-forced.

        With a keyword `first` the rows of the positions from `first` on; an engine without it computes all.
        """

    # Optional, asked for by name: `obeys`, a set of "top_p", "stop" and "logprobs",
    # `serve(port) -> url` and `server_problem()` of an engine that brings its own server,
    # `hidden_states(ids)`: float32 (tokens, hidden) after the embedding and after each layer,
    # `encode(text) -> ids` by the engine's own tokenizer.

    def describe(self) -> EngineDescription:
        """The loaded engine."""

    def close(self) -> None:
        """Free the model."""
