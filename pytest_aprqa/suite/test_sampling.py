"""Sampling: draws follow the temperature and top-p that were asked for, and a seed names one answer."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

DRAWS, DRAWS_SERVED = 300, 120
TEMPERATURES = (1.0, 1.5, 2.0)  # the first at which the model is uncertain enough
UNCERTAIN = 0.9  # share of the best token above which draws say little
TOP_P = (0.6, 0.75, 0.9)
DOUBTFUL = 0.8  # share of the best token of a nucleus at which 120 draws of it alone are seen
LARGEST_Z = 6.0  # one sound engine in a thousand million is refused
SEEDS, SEEDED_PROMPTS, SEEDED_TOKENS = (1, 2, 3), 2, 12
SMALLEST_CHANCE = 1e-9  # as LARGEST_Z
LEAST_CHANCE = 1e-9  # told of what is less likely
MOST_SEEDS = 100
OPEN_PROMPT = "The"
PATH = "/v1/completions"


@pytest.mark.gate("F-SAMPLE-001", severity="P1")
def test_draws_follow_the_temperature(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """The first token of many seeded answers is distributed as the softmax of the logits at the temperature."""
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.suite.sampling_statistics import probabilities

    first = [GenerationRequest("first", OPEN_PROMPT, "raw", 1, temperature=1.0)]
    engine.generate(first)  # what an engine does only once is not counted
    seconds = []
    for _ in range(3):  # one of them may have waited for another program
        started = time.monotonic()
        engine.generate(first)
        seconds.append(time.monotonic() - started)
    if min(seconds) * DRAWS > engine.timeout_s / 2:
        pytest.skip(f"{DRAWS} draws would take more than half of the time limit here")
    prompt, logits, temperature = _uncertain_prompt(engine, declared_artifact, playbook, run_state, observe)
    requests = [
        GenerationRequest(f"draw-{seed}", prompt, "raw", 1, temperature=temperature, seed=seed) for seed in range(DRAWS)
    ]
    results = engine.generate(requests)
    refused = next((result.error for result in results if result.error), None)
    assert refused is None, f"temperature {temperature:g}: {refused}"
    _judge([probabilities(logits, temperature)], [(r.new_ids, r.text) for r in results], observe, declared_artifact)


@pytest.mark.gate("F-SAMPLE-002", severity="P1")
def test_top_p_is_obeyed_or_refused(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """With `top_p` the server draws from the smallest set that holds this share, or says 4xx; it never ignores it."""
    from pytest_aprqa.served_answers import request_fields
    from pytest_aprqa.suite.sampling_statistics import probabilities, share_between

    with _client(engine, playbook) as client:
        body = request_fields(engine, client) | {"max_tokens": 1, "top_p": TOP_P[0], "temperature": 1.0}
        first = client.post(PATH, json=body | {"prompt": playbook.matrix.prompts[0]})
        if _is_refused(first, "top_p", observe):
            return
        prompt, logits, temperature = _uncertain_prompt(engine, declared_artifact, playbook, run_state, observe)
        shares = [share_between(probabilities(logits, temperature), least) for least in TOP_P]
        # A nucleus that is nearly one token shows neither a seed nor a sampler.
        doubtful = (one for one in shares if float(probabilities(logits, temperature, one).max()) <= DOUBTFUL)
        top_p = next(doubtful, shares[-1])
        observe("top_p", top_p)
        drawn: list[tuple[list[int] | None, str]] = []
        for seed in range(DRAWS_SERVED):
            asked = {"prompt": prompt, "top_p": top_p, "temperature": temperature, "seed": seed}
            answer = client.post(PATH, json=body | asked)
            assert answer.status_code == 200, f"top_p {top_p:g}: status {answer.status_code}: {answer.text[:100]}"
            choice = answer.json()["choices"][0]
            drawn.append((choice.get("token_ids"), str(choice.get("text"))))
    expected = [probabilities(logits, temperature, top_p, cut_first=first) for first in (False, True)]
    _judge(expected, drawn, observe, declared_artifact)


@pytest.mark.gate("F-STAB-002", severity="P1")
def test_a_seed_names_one_answer(
    engine: LoadedEngine,
    declared_artifact: OpenArtifact,
    playbook: Playbook,
    run_state: RunState,
    observe: Observe,
) -> None:
    """Sampled answers with the same seed are the same ids, asked again; with other seeds some are others.

    Where all seeds give one answer, more are tried, as many as the logits say that chance would need.
    """
    from pytest_aprqa.engines.protocol import GenerationRequest
    from pytest_aprqa.suite.same_answer import said

    prompts = dict.fromkeys([OPEN_PROMPT, *playbook.matrix.prompts[:SEEDED_PROMPTS]])
    requests = [
        GenerationRequest(f"seed-{n}", prompt, "raw", SEEDED_TOKENS, temperature=TEMPERATURES[-1], seed=seed)
        for n, prompt in enumerate(prompts)
        for seed in SEEDS
    ]
    results = engine.generate(requests)
    first, again = ([said(result) for result in some] for some in (results, engine.generate(requests)))
    answers = {(request.prompt, str(one)) for request, one in zip(requests, first, strict=True)}
    problems = [
        f"{request.prompt!r}, seed {request.seed} gives {a}, then {b}"
        for request, a, b in zip(requests, first, again, strict=True)
        if a != b
    ]
    observe("answers", len(requests), limit=">= 2")
    observe("different_answers", len(answers), limit=f"> {len(prompts)}")
    observe("answers_that_differ_again", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)
    if len(answers) > len(prompts):
        return
    request, answer, chance = _least_certain(engine, declared_artifact, run_state, requests, results)
    observe("chance_of_the_answer", chance)
    more = _draws_to_doubt(chance)
    if more > MOST_SEEDS:
        pytest.skip("every seed gives the same answer: the model is too certain to see a seed")
    drawn = engine.generate([dataclasses.replace(request, seed=MOST_SEEDS + n) for n in range(more)])
    seen = any(said(one) != answer for one in drawn)
    observe("seeds_of_one_prompt", more + len(SEEDS), limit=">= 2", passed=seen)
    assert seen, (
        f"{more + len(SEEDS)} seeds give the same answer at temperature {request.temperature:g}, whose probability"
        f" is {chance:.2g} by the logits: the seed or the temperature is ignored"
    )


def _draws_to_doubt(chance: float) -> int:
    """How many equal draws of an answer with this probability are as unlikely as SMALLEST_CHANCE."""
    return math.ceil(math.log(SMALLEST_CHANCE) / math.log(chance)) if 0 < chance < 1 else MOST_SEEDS + 1


def _least_certain(
    engine: LoadedEngine,
    artifact: OpenArtifact,
    state: RunState,
    requests: Sequence[GenerationRequest],
    results: Sequence[GenerationResult],
) -> tuple[GenerationRequest, Any, float]:
    """(request, its answer, probability of that by the known logits) of the prompt where another was likeliest."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.next_tokens import logits_after
    from pytest_aprqa.suite.same_answer import said
    from pytest_aprqa.suite.sampling_statistics import probabilities

    tokenizer = artifact.tokenizer
    asked = list({request.prompt: (request, one) for request, one in zip(requests, results, strict=True)}.values())
    prompts = [one.prompt_ids or tokenizer.encode(request.prompt) for request, one in asked]
    told = [one.new_ids or tokenizer.encode(one.text, add_special=False) for _, one in asked]
    try:
        known = logits_after(engine, state, [([*p, *new], len(p) - 1) for p, new in zip(prompts, told, strict=True)])
    except EngineUnavailable as error:
        pytest.skip(f"every seed gives the same answer; {error}")
    chances = [
        math.prod(float(probabilities(row, request.temperature)[token]) for token, row in zip(new, rows, strict=False))
        for (request, _), new, rows in zip(asked, told, known.rows, strict=True)
    ]
    least = min(range(len(chances)), key=chances.__getitem__)
    request, result = asked[least]
    return request, said(result), max(chances[least], LEAST_CHANCE)


@pytest.mark.gate("F-CHAT-004", severity="P1")
def test_stop_sequences_are_obeyed_or_refused(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """With `stop` the server ends its answer before that text, or says 4xx; it never ignores it."""
    from pytest_aprqa.served_answers import request_fields

    with _client(engine, playbook) as client:
        body = request_fields(engine, client)
        body |= {"prompt": playbook.matrix.prompts[0], "max_tokens": 16, "temperature": 0}
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


def _judge(
    expected: list[Any],
    drawn: Sequence[tuple[Sequence[int] | None, str]],
    observe: Observe,
    artifact: OpenArtifact,
) -> None:
    """Judge draws by the nearest of the distributions that are allowed; by texts where ids are not told."""
    from pytest_aprqa.suite.next_tokens import Outcomes
    from pytest_aprqa.suite.sampling_statistics import fit

    outcomes = Outcomes(artifact.tokenizer, len(expected[0]), by_text=any(not ids for ids, _ in drawn))
    counts, likely = outcomes.counted(drawn), [outcomes.likely(weights) for weights in expected]
    results = [fit(one, counts) for one in likely]
    nearest = min(range(len(results)), key=lambda number: results[number].z)
    result = results[nearest]
    if not result.freedom:
        pytest.skip("the model is too certain of its next token: draws say nothing")
    total, worst = len(drawn), result.worst
    observe("draws", total, limit=">= 1")
    observe("compared", "texts" if outcomes.by_text else "ids")
    observe("chi_square", result.statistic)
    observe("freedom", result.freedom)
    passed = result.z <= LARGEST_Z
    observe("z", result.z, limit=LARGEST_Z, passed=passed)
    observe.advise("temperature, top-p or another sampler is not what was asked for")
    where = "rare tokens"
    if worst is not None:
        share = float(likely[nearest][worst]) if worst >= 0 else 0.0
        where = f"{outcomes.name(worst)!r} was drawn {counts[worst] / total:.1%} of {total} times, expected {share:.1%}"
    assert passed, f"draws do not follow the logits: {result.z:.1f} standard deviations, limit {LARGEST_Z:g}; {where}"


def _uncertain_prompt(
    engine: LoadedEngine, artifact: OpenArtifact, playbook: Playbook, state: RunState, observe: Observe
) -> tuple[str, Any, float]:
    """(prompt, logits of its next token, temperature) of the first pair that leaves the best token some doubt."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.suite.next_tokens import next_logits
    from pytest_aprqa.suite.sampling_statistics import probabilities

    prompts = list(dict.fromkeys([*playbook.matrix.prompts[:4], OPEN_PROMPT]))
    try:
        known = next_logits(engine, state, [artifact.tokenizer.encode(prompt) for prompt in prompts])
    except EngineUnavailable as error:
        pytest.skip(str(error))
    observe("logits_from", known.computed_by)
    for prompt, logits in zip(prompts, known.rows, strict=True):
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
