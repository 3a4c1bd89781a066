"""Sampling: draws follow the temperature and top-p that were asked for, and a seed names one answer."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

DRAWS, DRAWS_SERVED = 300, 120
TEMPERATURES = (1.0, 1.5, 2.0)  # the first at which the model is uncertain enough
UNCERTAIN = 0.9  # share of the best token above which draws say little
TOP_P = 0.6
LARGEST_Z = 6.0  # one sound engine in a thousand million is refused
SEEDS, SEEDED_PROMPTS, SEEDED_TOKENS = (1, 2, 3), 2, 12
OPEN_PROMPT = "The"
PATH = "/v1/completions"


@pytest.mark.gate("F-SAMPLE-001", severity="P1")
def test_draws_follow_the_temperature(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """The first token of many seeded answers is distributed as the softmax of the logits at the temperature."""
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.suite.sampling_statistics import probabilities

    prompt, logits, temperature = _uncertain_prompt(engine, declared_artifact, playbook)
    requests = [
        GenerationRequest(f"draw-{seed}", prompt, "raw", 1, temperature=temperature, seed=seed) for seed in range(DRAWS)
    ]
    started = time.monotonic()
    engine.generate(requests[:1])
    if (time.monotonic() - started) * DRAWS > engine.timeout_s / 2:
        pytest.skip(f"{DRAWS} draws would take more than half of the time limit here")
    drawn = [result.new_ids for result in engine.generate(requests)]
    if any(not ids for ids in drawn):
        pytest.skip("the engine does not tell which ids it generated")
    _judge(probabilities(logits, temperature), Counter(ids[0] for ids in drawn if ids), observe, declared_artifact)


@pytest.mark.gate("F-SAMPLE-002", severity="P1")
def test_top_p_is_obeyed_or_refused(
    engine: LoadedEngine, declared_artifact: OpenArtifact, playbook: Playbook, observe: Observe
) -> None:
    """With `top_p` the server draws from the smallest set that holds this share, or says 4xx; it never ignores it."""
    from pytest_aprqa.served_answers import request_fields
    from pytest_aprqa.suite.sampling_statistics import probabilities

    with _client(engine, playbook) as client:
        body = {"prompt": playbook.matrix.prompts[0], "max_tokens": 1, "top_p": TOP_P, "temperature": 1.0}
        body |= request_fields(engine, client)
        first = client.post(PATH, json=body)
        if _is_refused(first, "top_p", observe):
            return
        prompt, logits, temperature = _uncertain_prompt(engine, declared_artifact, playbook)
        drawn: Counter[int] = Counter()
        for seed in range(DRAWS_SERVED):
            answer = client.post(PATH, json=body | {"prompt": prompt, "temperature": temperature, "seed": seed})
            ids = answer.json()["choices"][0].get("token_ids")
            if not ids:
                pytest.skip("the server does not tell which ids it generated")
            drawn[ids[0]] += 1
    _judge(probabilities(logits, temperature, TOP_P), drawn, observe, declared_artifact)


@pytest.mark.gate("F-STAB-002", severity="P1")
def test_a_seed_names_one_answer(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Sampled answers with the same seed are the same ids, asked again; with other seeds some are others."""
    from pytest_aprqa.engines.protocol import GenerationRequest

    prompts = dict.fromkeys([OPEN_PROMPT, *playbook.matrix.prompts[:SEEDED_PROMPTS]])
    requests = [
        GenerationRequest(f"seed-{n}", prompt, "raw", SEEDED_TOKENS, temperature=TEMPERATURES[-1], seed=seed)
        for n, prompt in enumerate(prompts)
        for seed in SEEDS
    ]
    first = [result.new_ids for result in engine.generate(requests)]
    again = [result.new_ids for result in engine.generate(requests)]
    if any(ids is None for ids in first):
        pytest.skip("the engine does not tell which ids it generated")
    answers = {(request.prompt, tuple(ids or ())) for request, ids in zip(requests, first, strict=True)}
    problems = [
        f"{request.prompt!r}, seed {request.seed} gives {a}, then {b}"
        for request, a, b in zip(requests, first, again, strict=True)
        if a != b
    ]
    observe("answers", len(requests), limit=">= 2")
    observe("different_answers", len(answers), limit=f"> {len(prompts)}")
    observe("answers_that_differ_again", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)
    if len(answers) <= len(prompts):
        pytest.skip("every seed gives the same answer: the model is too certain to see a seed")


@pytest.mark.gate("F-CHAT-004", severity="P1")
def test_stop_sequences_are_obeyed_or_refused(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """With `stop` the server ends its answer before that text, or says 4xx; it never ignores it."""
    from pytest_aprqa.served_answers import request_fields

    with _client(engine, playbook) as client:
        body = {"prompt": playbook.matrix.prompts[0], "max_tokens": 16, "temperature": 0}
        body |= request_fields(engine, client)
        whole = _text(client.post(PATH, json=body))
        middle = whole[len(whole) // 2 :][:3]
        if not middle.strip():
            pytest.skip(f"the answer {whole!r} has no middle to stop at")
        answer = client.post(PATH, json=body | {"stop": [middle]})
    if _is_refused(answer, "stop", observe):
        return
    found, expected = _text(answer), whole[: whole.index(middle)]
    observe("stopped", found, limit=expected, passed=found.strip() == expected.strip())
    assert middle not in found, f"stop {middle!r} is ignored: {found!r}"
    assert found.strip() == expected.strip(), f"stop {middle!r}: {found!r}, not {expected!r}"


def _is_refused(answer: httpx.Response, field: str, observe: Observe) -> bool:
    """True for a 4xx that names the field; other errors fail the check."""
    refused = 400 <= answer.status_code < 500
    observe("status", answer.status_code, limit="200 or 400 to 499")
    if refused:
        assert field in answer.text, f"{field}: status {answer.status_code} without naming it: {answer.text[:100]}"
        return True
    assert answer.status_code == 200, f"{field}: status {answer.status_code}: {answer.text[:100]}"
    return False


def _judge(expected: Any, drawn: Counter[int], observe: Observe, artifact: OpenArtifact) -> None:
    from pytest_aprqa.suite.sampling_statistics import fit

    result = fit(expected, drawn)
    if not result.freedom:
        pytest.skip("the model is too certain of its next token: draws say nothing")
    observe("draws", sum(drawn.values()), limit=">= 1")
    observe("chi_square", result.statistic)
    observe("freedom", result.freedom)
    passed = result.z <= LARGEST_Z
    observe("z", result.z, limit=LARGEST_Z, passed=passed)
    observe.advise("temperature, top-p or another sampler is not what was asked for")
    total, worst = sum(drawn.values()), result.worst
    where = "rare tokens"
    if worst is not None:
        tokens = artifact.tokenizer.tokens
        name = tokens[worst] if worst < len(tokens) else f"id {worst}"
        where = f"{name!r} was drawn {drawn[worst] / total:.1%} of {total} times, expected {float(expected[worst]):.1%}"
    assert passed, f"draws do not follow the logits: {result.z:.1f} standard deviations, limit {LARGEST_Z:g}; {where}"


def _uncertain_prompt(engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook) -> tuple[str, Any, float]:
    """(prompt, logits of its next token, temperature) of the first pair that leaves the best token some doubt."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.sampling_statistics import probabilities

    prompts = list(dict.fromkeys([*playbook.matrix.prompts[:4], OPEN_PROMPT]))
    for prompt in prompts:
        ids = artifact.tokenizer.encode(prompt)
        try:
            logits = engine.logits(ids)[-1]
        except EngineUnavailable as error:
            pytest.skip(str(error))
        for temperature in TEMPERATURES:
            if float(probabilities(logits, temperature).max()) <= UNCERTAIN:
                return prompt, logits, temperature
    pytest.skip(f"the model is certain of the next token of {len(prompts)} prompts: draws say nothing")


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, f"POST {PATH}: status {answer.status_code}: {answer.text[:100]}"
    return str(answer.json()["choices"][0]["text"])


def _client(engine: LoadedEngine, playbook: Playbook) -> httpx.Client:
    from pytest_aprqa.served_answers import http_client

    if "serve" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for serve")
    return http_client(engine)
