"""Stability: the same request gives the same answer, alone, again and in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook

PROMPTS = 4  # of the playbook's first prompts


@pytest.mark.gate("F-STAB-001", severity="P1")
def test_answers_are_reproducible(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Greedy ids of a batch, of the same batch again, and of each prompt alone are the same."""
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.suite.same_answer import said

    requests = [
        GenerationRequest(
            key=f"again-{i}", prompt=prompt, mode="raw", max_new_tokens=16, temperature=0.0, seed=playbook.matrix.seed
        )
        for i, prompt in enumerate(playbook.matrix.prompts[:PROMPTS])
    ]
    first, again = ([said(result) for result in engine.generate(requests)] for _ in range(2))
    alone = [said(engine.generate([request])[0]) for request in requests]
    problems = [
        f"{request.prompt!r}: {a!r} first, {b!r} again, {c!r} alone"
        for request, a, b, c in zip(requests, first, again, alone, strict=True)
        if not a == b == c
    ]
    observe("prompts_compared", len(requests), limit=">= 1")
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert requests, "the playbook has no prompt: nothing was compared"
    assert any(first), "no token was generated: nothing was compared"
    assert not problems, listed(problems)
