"""The reference engine over the SafeTensors source, for questions that the shared reference answers do not hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_aprqa.suite.parity import ask_once

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
    from pytest_aprqa.run_state import RunState

T = TypeVar("T")
GROUND_TRUTH = "safetensors"
REFERENCE_ENGINE = "torch"


@dataclass(frozen=True, slots=True)
class Compared:
    """What the source and an engine's artifact did with one prompt; `found_logits` None: the engine tells none.

    Logits are float32 of shape (answer tokens, vocabulary): row i chose token i of the source's answer.
    """

    expected: GenerationResult
    found: GenerationResult
    expected_logits: Any
    found_logits: Any


def is_the_reference(engine: LoadedEngine) -> bool:
    """True where the engine and the file are the reference's own: such a comparison can only be green."""
    model = engine.model
    return (
        model.settings.against is None
        and engine.format == GROUND_TRUTH
        and engine.host.engine == REFERENCE_ENGINE
        and engine.backend == "cpu"
    )


def compared(engine: LoadedEngine, state: RunState, request: GenerationRequest) -> Compared:
    """Both answers to one request, greedy, and both logits over the source's answer. Errors of either engine."""

    def compute() -> Compared:
        from pytest_aprqa.engines.errors import EngineUnavailable

        with source_host(engine, state) as host:
            expected = host.generate([request], timeout_s=engine.timeout_s)[0]
            prompt, new = list(expected.prompt_ids or []), list(expected.new_ids or [])
            ids, first = [*prompt, *new], len(prompt) - 1
            rows = slice(first, first + len(new))
            logits = host.logits(ids, timeout_s=engine.timeout_s)[rows] if new else None
        found = engine.generate([request])[0]
        try:
            mine = engine.logits(ids)[rows] if new else None
        except EngineUnavailable:
            mine = None
        return Compared(expected, found, logits, mine)

    return ask_once(engine, f"compared-{request.prompt}-{request.max_new_tokens}", compute)


def source_states(engine: LoadedEngine, state: RunState, ids: list[int]) -> list[Any]:
    """Hidden states of the source for token ids: float32 (tokens, hidden) after the embedding and each layer."""

    def compute() -> list[Any]:
        with source_host(engine, state) as host:
            return host.hidden_states(ids, timeout_s=engine.timeout_s)

    return ask_once(engine, f"source-states-{ids}", compute)


@contextlib.contextmanager
def source_host(engine: LoadedEngine, state: RunState) -> Iterator[EngineHost]:
    """A child with the source on the reference engine, ended afterwards; skips where that does not run the family."""
    from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.suite.untried import skip_without_reference

    skip_without_reference(engine.model)

    host = EngineHost(REFERENCE_ENGINE, threads=state.pool.threads)
    try:
        host.start()
        host.load(engine.model.source(), timeout_s=engine.timeout_s * LOAD_TIMEOUT_FACTOR)
        yield host
    finally:
        host.close()
