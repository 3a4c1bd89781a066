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
    from pytest_aprqa.engine_pool import request_of
    from pytest_aprqa.target import Cell

    if not {"run", "serve"} <= set(playbook.matrix.modalities):
        pytest.skip("the playbook does not ask for both run and serve")
    file = request.node.getparent(PlaybookFile)
    assert file is not None
    served = Cell(engine.format, engine.backend, "serve")
    scenarios = {s.key: s for s in run_state.selected_scenarios(file, served)}
    serve = run_state.pool.answers(engine.model, served, list(scenarios.values())).results
    keys = list(serve)
    observe("prompts_compared", len(keys), limit=">= 1")
    if not keys:
        pytest.skip("blocked: no prompt was answered over HTTP, see G2-BASIC and G3-STABLE of serve")
    run = dict(zip(keys, engine.generate([request_of(scenarios[key], "run") for key in keys]), strict=True))
    problems = []
    for key in keys:
        prompt = scenarios[key].prompt
        if run[key].prompt_ids != serve[key].prompt_ids:
            problems.append(f"{prompt!r}: prompt ids {run[key].prompt_ids}, served {serve[key].prompt_ids}")
        elif run[key].new_ids != serve[key].new_ids:
            problems.append(f"{prompt!r}: new ids {run[key].new_ids} in run, {serve[key].new_ids} served")
        elif run[key].text != serve[key].text:
            problems.append(f"{prompt!r}: text {run[key].text!r} in run, {serve[key].text!r} served")
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(keys)} prompts: {listed(problems)}"
