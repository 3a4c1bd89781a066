"""Answers of the scenario matrix, judged by the oracles that the playbook configures, and agreement of modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario
    from pytest_aprqa.run_state import RunState


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


@pytest.mark.gate("F-MODALITY-001", severity="P1")
def test_run_and_serve_agree(
    engine: LoadedEngine, playbook: Playbook, run_state: RunState, request: pytest.FixtureRequest, observe: Observe
) -> None:
    """The same prompt gives the same prompt ids and, greedily, the same new ids in `run` and in raw `serve`."""
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.target import Cell

    if not {"run", "serve"} <= set(playbook.matrix.modalities):
        pytest.skip("the playbook does not ask for both run and serve")
    file = request.node.getparent(PlaybookFile)
    results = []
    for modality in ("run", "serve"):
        cell = Cell(engine.format, engine.backend, modality)
        scenarios = {s.key: s.prompt for s in run_state.selected_scenarios(file, cell)}
        answers = run_state.pool.answers(engine.model, cell, run_state.selected_scenarios(file, cell))
        results.append({scenarios[key]: result for key, result in answers.results.items()})
    run, serve = results
    common = [prompt for prompt in run if prompt in serve]
    observe("prompts_compared", len(common), limit=">= 1")
    if not common:
        pytest.skip("no prompt was answered in both modalities")
    problems = []
    for prompt in common:
        if run[prompt].prompt_ids != serve[prompt].prompt_ids:
            problems.append(f"{prompt!r}: prompt ids {run[prompt].prompt_ids}, served {serve[prompt].prompt_ids}")
        elif run[prompt].new_ids != serve[prompt].new_ids:
            problems.append(f"{prompt!r}: new ids {run[prompt].new_ids} in run, {serve[prompt].new_ids} served")
        elif run[prompt].text != serve[prompt].text:
            problems.append(f"{prompt!r}: text {run[prompt].text!r} in run, {serve[prompt].text!r} served")
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(common)} prompts: {listed(problems)}"
