"""The modalities of one artifact on one engine: the same prompt ids and, greedily, the same answer; template once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import CellAnswers, LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario
    from pytest_aprqa.run_state import RunState

COMPARED = 8  # prompts of a cell whose ids are compared


@pytest.mark.gate("F-MODALITY-001", severity="P1")
def test_run_and_serve_agree(
    engine: LoadedEngine, playbook: Playbook, run_state: RunState, request: pytest.FixtureRequest, observe: Observe
) -> None:
    """The same prompt gives the same prompt ids and, greedily, the same new ids in `run` and in raw `serve`."""
    from pytest_aprqa.engine_pool import request_of
    from pytest_aprqa.suite.modality_agreement import disagreement

    if not {"run", "serve"} <= set(playbook.matrix.modalities):
        pytest.skip("the playbook does not ask for both run and serve")
    scenarios, answers = _answers_of("serve", engine, run_state, request)
    serve = answers.results
    keys = list(serve)
    observe("prompts_compared", len(keys), limit=">= 1")
    if not keys:
        pytest.skip("blocked: no prompt was answered over HTTP, see G2-BASIC and G3-STABLE of serve")
    run = dict(zip(keys, engine.generate([request_of(scenarios[key], "run") for key in keys]), strict=True))
    problems = []
    for key in keys:
        if run[key].error:
            problems.append(f"{scenarios[key].prompt!r}: answered in serve, refused in run: {run[key].error}")
        elif (difference := disagreement(run[key], serve[key], ("run", "serve"))) is not None:
            problems.append(f"{scenarios[key].prompt!r}: {difference}")
    observe("ids_compared", run[keys[0]].new_ids is not None and serve[keys[0]].new_ids is not None)
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(keys)} prompts: {listed(problems)}"


@pytest.mark.gate("F-MODALITY-002", severity="P1")
def test_raw_prompt_is_what_the_file_declares(
    engine: LoadedEngine,
    artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    request: pytest.FixtureRequest,
    observe: Observe,
) -> None:
    """In `run` the model is shown the prompt as the file's tokenizer cuts it: no template, no other begin token."""
    if "run" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for run")
    observe.advise("the engine wraps raw prompts in a template, adds or leaves out a begin token, or cuts otherwise")
    scenarios, answers = _answers_of("run", engine, run_state, request)
    expected = {key: artifact.tokenizer.encode(scenarios[key].prompt) for key in list(answers.results)[:COMPARED]}
    _compare_prompts(scenarios, answers, expected, observe)


@pytest.mark.gate("F-MODALITY-003", severity="P1")
def test_chat_prompt_is_the_template_once(
    engine: LoadedEngine,
    artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    request: pytest.FixtureRequest,
    observe: Observe,
) -> None:
    """In `chat` the model is shown the file's own template, rendered once around the prompt."""
    from pytest_aprqa.models.chat_template import render_chat

    if "chat" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for chat")
    tokenizer = artifact.tokenizer
    if not tokenizer.chat_template:
        pytest.skip("blocked: the file declares no chat template, see G1-TOKENIZER-001")
    observe.advise("the engine uses another template than the file's, uses it twice, or adds a system message")
    scenarios, answers = _answers_of("chat", engine, run_state, request)
    expected = {}
    for key in list(answers.results)[:COMPARED]:
        text = render_chat(
            tokenizer.chat_template,
            [{"role": "user", "content": scenarios[key].prompt}],
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            path=tokenizer.path,
        )
        expected[key] = tokenizer.encode(text, add_special=False)
    _compare_prompts(scenarios, answers, expected, observe)


@pytest.mark.gate("F-MODALITY-004", severity="P1")
def test_text_is_the_decoded_ids(
    engine: LoadedEngine,
    artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    request: pytest.FixtureRequest,
    observe: Observe,
) -> None:
    """In `run` the text is what the file's tokenizer decodes the new ids to: no byte symbols, no lost characters."""
    if "run" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for run")
    observe.advise("the engine decodes with another table than the file's, or prints byte-level symbols")
    tokenizer = artifact.tokenizer
    scenarios, answers = _answers_of("run", engine, run_state, request)
    told = {key: result for key, result in answers.results.items() if result.new_ids}
    if not told:
        pytest.skip("the engine does not tell which ids it generated, or answered nothing")
    problems = []
    for key, result in told.items():
        ids = list(result.new_ids or [])
        while ids and ids[-1] in tokenizer.end_ids:
            ids.pop()
        decoded = tokenizer.decode(ids, skip_special=True)
        if decoded.strip() != result.text.strip():
            problems.append(f"{scenarios[key].prompt!r}: text {result.text[:60]!r}, its ids are {decoded[:60]!r}")
    observe("answers_compared", len(told), limit=">= 1")
    observe("answers_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(told)} answers: {listed(problems)}"


def _answers_of(
    modality: str, engine: LoadedEngine, run_state: RunState, request: pytest.FixtureRequest
) -> tuple[dict[str, Scenario], CellAnswers]:
    """Scenarios by key and their answers, of one cell; asked for once in a run."""
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.target import Cell

    file = request.node.getparent(PlaybookFile)
    assert file is not None
    cell = Cell(engine.format, engine.backend, modality)
    scenarios = {s.key: s for s in run_state.selected_scenarios(file, cell)}
    return scenarios, run_state.pool.answers(engine.model, cell, list(scenarios.values()))


def _compare_prompts(
    scenarios: dict[str, Scenario], answers: CellAnswers, expected: dict[str, list[int]], observe: Observe
) -> None:
    from pytest_aprqa.suite.modality_agreement import id_difference

    if not expected:
        pytest.skip("blocked: no prompt was answered, see G2-BASIC and G3-STABLE")
    told = [key for key in expected if answers.results[key].prompt_length is not None]
    if not told:
        pytest.skip("the engine tells neither prompt ids nor their number")
    problems = []
    for key in told:
        result, right = answers.results[key], expected[key]
        if result.prompt_ids is not None and result.prompt_ids != right:
            difference = id_difference(result.prompt_ids, right, ("the engine", "the file"))
            problems.append(f"{scenarios[key].prompt!r}: {difference}")
        elif result.prompt_ids is None and result.prompt_length != len(right):
            problems.append(
                f"{scenarios[key].prompt!r}: {result.prompt_length} prompt ids, the file makes {len(right)}"
            )
    observe("prompts_compared", len(told), limit=">= 1")
    observe("prompts_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"{len(problems)} of {len(told)} prompts: {listed(problems)}"
