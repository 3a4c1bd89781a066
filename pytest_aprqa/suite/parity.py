"""What an engine's model does with what the reference was asked; asked once per engine, shared by several checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.numerics.behaviour_limits import BehaviourLimits
    from pytest_aprqa.numerics.greedy_margin import TokenDifference
    from pytest_aprqa.numerics.logit_comparison import LogitDistance
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.reference_answers import Reference, ReferenceAnswer
    from pytest_aprqa.run_state import RunState

T = TypeVar("T")
_KNOWN: WeakKeyDictionary[LoadedEngine, dict[str, Any]] = WeakKeyDictionary()
# Arithmetic of fewer bits than the reference's: its noise is that of 8-bit values, whatever the file stores.
EXACT_ARITHMETIC = ("float32", "torch.float32")
LAYER_BYTES = 2 << 30  # of source weights up to which a second model is loaded to find the first divergent layer
LAYER_TOKENS = 64


def ask_once(engine: LoadedEngine, key: str, compute: Callable[[], T]) -> T:
    """The answer to a question about an engine, or the error that it ended in, without asking twice."""
    known = _KNOWN.setdefault(engine, {})
    if key not in known:
        try:
            known[key] = compute()
        except (OSError, ValueError, RuntimeError) as error:
            known[key] = error
    answer = known[key]
    if isinstance(answer, Exception):
        raise answer.with_traceback(None)
    return answer  # type: ignore[no-any-return]


def answers_of(
    engine: LoadedEngine, playbook: Playbook, state: RunState
) -> tuple[Reference, list[GenerationResult], GenerationResult]:
    """(reference, the engine's answers to its prompts, its golden answer). Errors of either engine; may skip."""
    from pytest_aprqa.reference_answers import ask, reference_answers
    from pytest_aprqa.suite.untried import skip_without_reference

    skip_without_reference(engine.model)

    def compute() -> tuple[Reference, list[GenerationResult], GenerationResult]:
        reference = reference_answers(state, engine.model, playbook)
        return (reference, *ask(engine, playbook))

    return ask_once(engine, "answers", compute)


def distance_of(engine: LoadedEngine, playbook: Playbook, state: RunState) -> tuple[Reference, LogitDistance]:
    """(reference, distance of the engine's logits from its). EngineUnavailable where the engine tells no logits."""
    from pytest_aprqa.numerics.logit_comparison import compare_logits
    from pytest_aprqa.reference_answers import reference_answers
    from pytest_aprqa.suite.untried import skip_without_reference

    skip_without_reference(engine.model)

    def compute() -> tuple[Reference, LogitDistance]:
        reference = reference_answers(state, engine.model, playbook)

        def triples() -> Iterator[tuple[list[int], Any, Any]]:
            for ids, expected in reference.logits():
                yield ids, expected, engine.logits(ids, lasting=False)

        return reference, compare_logits(triples())

    return ask_once(engine, "distance", compute)


def limits_of(engine: LoadedEngine, artifact: OpenArtifact) -> tuple[str, BehaviourLimits]:
    """(what the file is judged as, its limits), no stricter than the engine's arithmetic."""
    from pytest_aprqa.numerics.behaviour_limits import behaviour_limits
    from pytest_aprqa.suite.stored_types import FLOATS, base_type, declared_label, majority_type

    entries = (artifact.tensors.entry(name) for name in artifact.tensors.names())
    label = declared_label(artifact) or majority_type(entries) or "F32"
    base = base_type(label)
    if base in FLOATS and str(engine.description.dtype).lower() not in EXACT_ARITHMETIC:
        return f"{label}, computed in {engine.description.dtype}", behaviour_limits("Q8_0")
    return label, behaviour_limits(base)


def token_difference(expected: ReferenceAnswer, found: GenerationResult, limit: float) -> TokenDifference | None:
    """Where the answers part, or None. An engine that tells no ids is judged by its text."""
    from pytest_aprqa.numerics.greedy_margin import TokenDifference, compare_greedy

    if found.new_ids is None:
        if found.text == expected.text:
            return None
        same = next((i for i, (a, b) in enumerate(zip(expected.text, found.text, strict=False)) if a != b), -1)
        return TokenDifference(expected.prompt, max(same, 0), [], [], float("inf"), limit)
    another_prompt = found.prompt_ids is not None and found.prompt_ids != expected.prompt_ids
    margins = [] if another_prompt else expected.margins  # another prompt was read: no margin excuses it
    return compare_greedy(expected.new_ids, found.new_ids, margins, limit, prompt=expected.prompt)


def first_divergent_layer(
    engine: LoadedEngine, model: ModelUnderTest, ids: list[int], threads: int
) -> tuple[int, float] | None:
    """(layer, NMSE of its hidden states) where the models part; layer 0 is the embedding. None: it cannot be said."""
    from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR
    from pytest_aprqa.engines.errors import EngineError
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.numerics.first_divergence import first_layer

    host = EngineHost("torch", threads=threads)
    try:
        if model.source().path.stat().st_size > LAYER_BYTES:
            return None
        mine = engine.hidden_states(ids[:LAYER_TOKENS])
        host.start()
        host.load(model.source(), timeout_s=engine.timeout_s * LOAD_TIMEOUT_FACTOR)
        theirs = host.hidden_states(ids[:LAYER_TOKENS], timeout_s=engine.timeout_s)
    except (EngineError, OSError, ValueError):
        return None
    finally:
        host.close()
    return first_layer(theirs, mine)
