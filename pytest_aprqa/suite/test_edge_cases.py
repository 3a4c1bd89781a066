"""Edge cases: empty prompt, prompt beyond the context, text of many scripts, token limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact

UNICODE_PROMPT = "Grüße, 你好, مرحبا, 🙂"
NEXT_PROMPT = "Hello"


@pytest.mark.gate("F-EDGE-001", severity="P2")
def test_empty_prompt(engine: LoadedEngine, observe: Observe) -> None:
    """An empty prompt ends with an answer or one clear error, and the engine goes on."""
    outcome = _try(engine, "")
    observe("outcome", outcome)
    assert _answers(engine), "the engine does not answer after an empty prompt"


@pytest.mark.gate("F-EDGE-002", severity="P2")
def test_prompt_longer_than_the_context(engine: LoadedEngine, artifact: OpenArtifact, observe: Observe) -> None:
    """A prompt beyond the context is refused with a message that names the limit, and the engine goes on."""
    limit = artifact.config.max_position_embeddings
    outcome = _try(engine, " 1" * (limit + 8))
    observe("context", limit, unit="tokens")
    observe("outcome", outcome)
    assert outcome != "answered", f"a prompt of more than {limit} tokens was answered: it was cut without a word"
    assert str(limit) in outcome, f"the refusal does not name the limit of {limit} tokens: {outcome}"
    assert _answers(engine), "the engine does not answer after a prompt that was too long"


@pytest.mark.gate("F-EDGE-003", severity="P2")
def test_unicode_prompt(engine: LoadedEngine, artifact: OpenArtifact, observe: Observe) -> None:
    """Text of many scripts reaches the model whole: the prompt ids that the engine used decode to the text."""
    result = _generate(engine, UNICODE_PROMPT, 4)
    observe("prompt_tokens", len(result.prompt_ids or []), limit=">= 1")
    if result.prompt_ids is None:
        pytest.skip("the engine does not say which prompt ids it used")
    decoded = artifact.tokenizer.decode(result.prompt_ids, skip_special=True)
    assert decoded == UNICODE_PROMPT, f"the model was shown {decoded!r} for {UNICODE_PROMPT!r}"


@pytest.mark.gate("F-EDGE-004", severity="P2")
def test_token_limit_is_respected(engine: LoadedEngine, observe: Observe) -> None:
    """`max_tokens` 1 and 8 give at most 1 and 8 new tokens."""
    for limit in (1, 8):
        result = _generate(engine, NEXT_PROMPT, limit)
        found = result.new_length
        if found is None:
            pytest.skip("the engine does not say how many tokens it generated")
        observe(f"tokens_at_{limit}", found, limit=limit, passed=found <= limit)
        assert found <= limit, f"max_tokens {limit}: {found} new tokens"
        assert found > 0, f"max_tokens {limit}: no new token"


def _generate(engine: LoadedEngine, prompt: str, limit: int) -> GenerationResult:
    from pytest_aprqa.engines.errors import EngineError
    from pytest_aprqa.engines.protocol import GenerationRequest

    request = GenerationRequest(key="edge", prompt=prompt, mode="raw", max_new_tokens=limit, temperature=0.0, seed=0)
    result = engine.generate([request])[0]
    if result.error:
        raise EngineError(result.error)
    return result


def _try(engine: LoadedEngine, prompt: str) -> str:
    """`answered`, or the one-line error. A crash or a time-out is not caught: it fails the check."""
    from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineTimeout

    try:
        _generate(engine, prompt, 4)
    except (EngineCrashed, EngineTimeout):
        raise
    except EngineError as error:
        return str(error)
    return "answered"


def _answers(engine: LoadedEngine) -> bool:
    from pytest_aprqa.suite.same_answer import said

    return bool(said(_generate(engine, NEXT_PROMPT, 4)))
