"""Log-probabilities that the server offers: those of the model's own logits, whole and streamed, raw and chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

NOT_IMPLEMENTED = 501  # how one server says that a backend of it tells none

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState
    from pytest_aprqa.suite.served_logprobs import Answer, Question


@pytest.mark.gate("F-LOGPROB-001", severity="P1")
def test_logprobs_are_those_of_the_logits(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """`logprobs` of completions: natural logarithms of the model's own probabilities, at any temperature."""
    from pytest_aprqa.suite.served_logprobs import completion_questions

    answers = _answers(engine, playbook, completion_questions(playbook), observe)
    _judge(engine, declared_artifact, run_state, answers, observe)


@pytest.mark.gate("F-LOGPROB-002", severity="P1")
def test_logprobs_of_chat_are_those_of_the_logits(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """`logprobs` and `top_logprobs` of chat, after the prompt that the file's own template makes."""
    from pytest_aprqa.suite.served_logprobs import chat_questions

    if not declared_artifact.tokenizer.chat_template:
        pytest.skip("blocked: the file declares no chat template, see G1-TOKENIZER-001")
    answers = _answers(engine, playbook, chat_questions(playbook, declared_artifact.tokenizer), observe)
    _judge(engine, declared_artifact, run_state, answers, observe)


@pytest.mark.gate("F-LOGPROB-003", severity="P1")
def test_streamed_logprobs_are_those_of_the_whole_answer(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The pieces of a stream carry the same tokens with the same values, in the same order, as the whole answer."""
    from pytest_aprqa.suite.served_logprobs import STREAM_TOLERANCE, chat_questions, completion_questions, streamed

    tokenizer = declared_artifact.tokenizer
    questions = completion_questions(playbook)[:1]
    questions += chat_questions(playbook, tokenizer)[:1] if tokenizer.chat_template else []
    compared, problems = 0, []
    for question in questions:
        if not (whole := _answers(engine, playbook, [question], observe, required=False)):
            continue
        with _client(engine, playbook) as client:
            pieces = streamed(engine, client, question)
        expected = [(one.chosen.text, one.chosen.logprob) for one in whole[0].choices]
        found = [(one.chosen.text, one.chosen.logprob) for one in pieces]
        compared += len(found)
        if [text for text, _ in found] != [text for text, _ in expected]:
            problems.append(f"{question.path}: streamed {len(found)} tokens with values, {len(expected)} in the whole")
            continue
        for at, ((text, one), (_, other)) in enumerate(zip(found, expected, strict=True)):
            if abs(one - other) > STREAM_TOLERANCE:
                problems.append(f"{question.path}: token {at} {text!r}: streamed {one:.4g}, whole {other:.4g}")
                break
    observe("tokens_compared", compared, limit=">= 1")
    observe("streams_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)
    if not compared:
        pytest.skip("the server offers no log-probabilities")


def _answers(
    engine: LoadedEngine, playbook: Playbook, questions: list[Question], observe: Observe, *, required: bool = True
) -> list[Answer]:
    """The server's answers with what it tells; skipped where it refuses the field, failed where it forgets it."""
    from pytest_aprqa.suite.served_logprobs import asked

    with _client(engine, playbook) as client:
        answers = [asked(engine, client, question) for question in questions]
    for one in answers:
        if one.refusal is None:
            continue
        observe("status", one.status, limit="200, 400 to 499 or 501")
        assert one.status == NOT_IMPLEMENTED or 400 <= one.status < 500, (
            f"logprobs: POST {one.question.path}: status {one.status}: {one.refusal[:100]}"
        )
        assert "logprob" in one.refusal, f"logprobs: status {one.status} without naming it: {one.refusal[:100]}"
        if required:
            pytest.skip(f"the server offers no log-probabilities: {one.refusal[:100]}")
        return []
    for one in answers:
        assert one.choices, f"logprobs is ignored: POST {one.question.path} answers 200 and tells none"
    return answers


def _judge(
    engine: LoadedEngine, artifact: OpenArtifact, state: RunState, answers: list[Answer], observe: Observe
) -> None:
    from pytest_aprqa.suite.compared_sides import NothingCompared
    from pytest_aprqa.suite.next_tokens import logits_after
    from pytest_aprqa.suite.parity import limits_of
    from pytest_aprqa.suite.served_logprobs import BEST
    from pytest_aprqa.suite.told_logprobs import SHARE_OF_MARGIN, TokenNames, ToldDistance, answer_ids, compare_told

    names = TokenNames(artifact.tokenizer)
    label, limits = limits_of(engine, artifact)
    prompts = [one.question.prompt_ids(artifact.tokenizer) for one in answers]
    news = [answer_ids(one.choices, one.token_ids, names) for one in answers]
    pairs = [(one, prompt, new) for one, prompt, new in zip(answers, prompts, news, strict=True) if new]
    if not pairs:
        raise NothingCompared("no token of the answers can be named: nothing was compared")
    known = logits_after(engine, state, [([*prompt, *new], len(prompt) - 1) for _, prompt, new in pairs])
    observe("logits_from", known.computed_by)
    observe("judged_as", label)
    limit = limits.margin * SHARE_OF_MARGIN
    every = ToldDistance()
    far: list[str] = []
    mistaken: list[str] = []
    for (one, _, new), rows in zip(pairs, known.rows, strict=True):
        distance = compare_told(one.choices, new, rows[: len(new)], names, limits.margin, BEST)
        every.positions += distance.positions
        every.values += distance.values
        every.squares += distance.squares
        mistaken += [f"{one.question.name}: {mistake}" for mistake in distance.mistaken]
        if distance.rms > limit and distance.worst is not None:
            at, token, told, expected = distance.worst
            far.append(
                f"{one.question.name}: {distance.rms:.3g} nats off, limit {limit:.3g}; position {at}: "
                f"{names.name(token)} {told:.4g}, the logits say {expected:.4g}"
            )
            observe.finding(f"{one.question.name}, position {at}", f"{told:.4g}", f"{expected:.4g}", "other values")
    problems = far + mistaken
    observe("positions_compared", every.positions, limit=">= 1")
    observe("values_compared", every.values, limit=">= 1")
    observe("rms_difference", every.rms, limit=limit, unit="nats", passed=not problems)
    observe.advise("another model, logits after temperature, another position, or no natural logarithms")
    assert not problems, f"log-probabilities are not those of the logits: {listed(problems)}"


def _client(engine: LoadedEngine, playbook: Playbook) -> httpx.Client:
    from pytest_aprqa.served_answers import http_client

    if "serve" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for serve")
    return http_client(engine)
