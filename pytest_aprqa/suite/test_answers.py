"""Answers of the scenario matrix, judged by the oracles that the playbook configures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario


@pytest.mark.gate("F-{category}-001", severity="P1")
def test_answer_is_accepted(answer: GenerationResult, scenario: Scenario, playbook: Playbook, observe: Observe) -> None:
    """Every oracle that applies to the prompt accepts the output, and at least one really judged it."""
    from pytest_aprqa.oracles.selection import judge

    judgements = judge(scenario.prompt, answer.text, playbook.oracles, truncated=answer.finish_reason == "length")
    for judgement in judgements:
        passed = None if judgement.verdict == "skip" else judgement.verdict == "pass"
        observe(judgement.oracle, judgement.verdict, passed=passed)
    refusals = [f"{j.oracle}: {j.reason}" for j in judgements if j.verdict == "fail"]
    looked = [j for j in judgements if j.verdict != "skip"]
    observe.advise(f"ask the SafeTensors source {scenario.prompt!r}: if it answers right, look at I-4 and G0")
    assert looked, f"no oracle could judge {answer.text[:60]!r} for prompt {scenario.prompt!r}"
    assert not refusals, f"prompt {scenario.prompt!r}: {listed(refusals)}; output {answer.text[:80]!r}"
