"""`property_tests`: prompts drawn by Hypothesis, each answer before the oracle; what fails is shrunk."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.property_tests import PropertyTest

TOKENS = 32


@pytest.mark.block("property_tests")
@pytest.mark.gate("F-PROP-001", severity="P1")
def test_property_holds(
    property_test: PropertyTest, engine: LoadedEngine, playbook: Playbook, observe: Observe
) -> None:
    """Every generated prompt of the property gets an answer that its oracle accepts; one it judged, at least."""
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.property_tests import oracle_of, strategy_of

    if importlib.util.find_spec("hypothesis") is None:
        pytest.skip("property_tests needs Hypothesis: pip install 'pytest-aprqa[invariants]'")
    try:
        oracle, prompts = oracle_of(property_test.oracle), strategy_of(property_test.generator)
    except PlaybookError as error:
        pytest.skip(f"nothing of this property is proven: {error}")
    twice = oracle == "repeats"
    answers = _Answers(engine, property_test.chat, twice, lambda prompt, two: _verdict(oracle, prompt, two, playbook))
    smallest = _refute(property_test, prompts, answers)
    observe("prompts", len(answers.asked), limit=">= 1")
    observe("judged", answers.judged, limit=">= 1")
    observe("refuted", int(smallest is not None), limit=0, passed=smallest is None)
    if smallest is not None:
        prompt, reason = smallest
        observe("smallest_prompt", prompt)
        observe.advise("ask this prompt alone: `aprqa generate` and `aprqa engines -p` show what engines make of it")
        raise AssertionError(f"{property_test.name}: {prompt!r}: {reason}")
    if not answers.judged:
        pytest.skip(f"the oracle {oracle} judged none of {len(answers.asked)} prompts: nothing is proven")


class _Answers:
    """The reason against each prompt that was asked, or None. The same prompt is asked once."""

    def __init__(
        self, engine: LoadedEngine, chat: bool, twice: bool, verdict: Callable[[str, list[Any]], str | None]
    ) -> None:
        self._engine = engine
        self._twice = twice
        self._mode = "chat" if chat else "raw"
        self._verdict = verdict
        self.asked: dict[str, str | None] = {}
        self.judged = 0

    def reason(self, prompt: str) -> str | None:
        """Why the answer is refused; a crash or a time-out of the engine is raised as it is."""
        if prompt not in self.asked:
            first = self._ask(prompt)
            told = self._verdict(prompt, [first, self._ask(prompt) if self._twice else first])
            self.judged += told != ""
            self.asked[prompt] = told or None
        return self.asked[prompt]

    def _ask(self, prompt: str) -> GenerationResult:
        from pytest_aprqa.engines.protocol import GenerationRequest

        return self._engine.generate([GenerationRequest("property", prompt, self._mode, TOKENS)])[0]


def _refute(property_test: PropertyTest, prompts: Any, answers: _Answers) -> tuple[str, str] | None:
    """The smallest prompt that Hypothesis finds against the property, and the reason; None where it finds none."""
    from hypothesis import HealthCheck, Phase, given, settings

    refuted: list[str] = []
    shrunk = 0

    @settings(
        max_examples=property_test.count, deadline=None, database=None, derandomize=True, print_blob=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(prompts)
    def hold(prompt: str) -> None:
        nonlocal shrunk
        if refuted and prompt not in answers.asked:
            shrunk += 1
            if shrunk > property_test.shrinks:
                return  # enough: what was found is small enough
        if answers.reason(prompt) is not None:
            refuted.append(prompt)
            raise _Refuted

    with contextlib.suppress(_Refuted):
        hold()
    if not refuted:
        return None
    return refuted[-1], str(answers.asked[refuted[-1]])


class _Refuted(Exception):
    """The property does not hold for one prompt."""


def _verdict(oracle: str, prompt: str, answers: list[Any], playbook: Playbook) -> str | None:
    """The reason against the answers; None: accepted; "": the oracle has nothing to say about this prompt."""
    from pytest_aprqa.oracles.selection import judge

    first, second = answers
    if first.error is not None:
        # A refusal is no answer; only the oracle that asks for an answer holds it against the engine.
        return f"refused: {first.error}" if oracle == "not_empty" else ""
    if oracle == "repeats":
        same = (first.text, first.new_ids) == (second.text, second.new_ids)
        return None if same else f"two answers with one seed: {first.text[:40]!r} and {second.text[:40]!r}"
    if oracle == "not_empty":
        return None if first.text.strip() else "the answer is empty"
    configured: dict[str, list[dict[str, Any]]] = {
        "arithmetic": [{"type": "arithmetic"}],
        "code_syntax": [{"type": "code_syntax"}],
        "coherent": [{"type": "response", "config": {"check_coherence": True, "min_relevance": 0}}],
        "not_garbage": [{"type": "garbage"}],
    }
    cut = first.finish_reason == "length"
    told = judge(prompt, first.text, configured.get(oracle, playbook.oracles), truncated=cut)
    if oracle in ("arithmetic", "code_syntax"):
        told = [one for one in told if one.oracle == oracle]
    refused = next((one for one in told if one.verdict == "fail"), None)
    if refused is not None:
        return f"{refused.oracle}: {refused.reason}: {first.text[:60]!r}"
    return None if any(one.verdict == "pass" for one in told) else ""
