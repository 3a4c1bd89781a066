"""`ollama_parity`: a real Ollama server beside our engine; skipped in words where none is reachable."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.suite.ollama_client import OllamaClient

BLOCK = "ollama_parity"
TOKENS = 32
PULL_S = 1800.0
MOST_TIME = 3.0  # times as long as Ollama, gates.md 12
SHORTEST_S = 0.001
OURS = "aprqa-parity-check"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-PULL-001", severity="P1")
def test_ollama_pulls_the_model(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The server has the model of `model_tag`, or fetches it, before it is compared; afterwards it lists it."""
    from pytest_aprqa.suite.ollama_client import OllamaUnavailable, full_name

    if engine.format != "gguf":
        pytest.skip("ollama runs GGUF files: the GGUF artifact is compared")
    tag = full_name(playbook.blocks[BLOCK]["model_tag"])
    with _client(PULL_S) as client:
        there = tag in client.tags()
        observe("model", tag)
        observe("was_there", int(there))
        if not there:
            try:
                client.pull(tag)
            except OllamaUnavailable as error:
                pytest.skip(f"the server cannot fetch a model: {error}")
        listed_now = tag in client.tags()
    observe("listed", int(listed_now), limit=1, passed=listed_now)
    assert listed_now, f"ollama says that it pulled {tag}, and does not list it"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-004", severity="P1")
def test_ollama_lists_its_models(playbook: Playbook, observe: Observe) -> None:
    """`GET /api/tags` of the server answers with a list of models."""
    with _client(60.0) as client:
        found = client.tags()
        observe("models", len(found))
        observe("server", client.url)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-001", severity="P1")
def test_both_answers_are_right(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Where Ollama's answer to a prompt stands before the oracles, ours does; both say something."""
    from pytest_aprqa.oracles.selection import judge

    problems = []
    for prompt, ours, theirs in _answers(engine, playbook):
        observe(f"ours[{prompt}]", ours["text"])
        observe(f"ollama[{prompt}]", theirs.text)
        verdicts = [
            [one for one in judge(prompt, text, playbook.oracles) if one.verdict == "fail"]
            for text in (ours["text"], theirs.text)
        ]
        if not theirs.text.strip():
            problems.append(f"{prompt!r}: ollama says nothing")
        elif not ours["text"].strip():
            problems.append(f"{prompt!r}: we say nothing, ollama {theirs.text[:60]!r}")
        elif verdicts[0] and not verdicts[1]:
            problems.append(f"{prompt!r}: ours {ours['text'][:60]!r}: {verdicts[0][0].reason}; ollama's is right")
    observe("answers_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-002", severity="P1")
def test_decoding_is_as_fast(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Our decoding speed is at least the playbook's share of Ollama's."""
    least = float(playbook.blocks[BLOCK]["min_perf_ratio"])
    ours, theirs = [], []
    for _, mine, other in _answers(engine, playbook):
        if mine["tokens"] and other.speed:
            ours.append(mine["tokens"] / mine["seconds"])
            theirs.append(other.speed)
    if not theirs:
        pytest.skip("one of the two does not tell how many tokens it generated")
    ratio = (sum(ours) / len(ours)) / (sum(theirs) / len(theirs))
    observe("speed_ratio", ratio, limit=least, passed=ratio >= least)
    assert ratio >= least, f"we decode at {ratio:.2f} of ollama's speed, limit {least:g}"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-003", severity="P1")
def test_whole_requests_take_no_longer(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """A whole request takes at most three times as long as Ollama's, the time in which it loads the model left out."""
    answers = _answers(engine, playbook)
    ours = sum(mine["seconds"] for _, mine, _ in answers)
    theirs = max(sum(other.seconds for _, _, other in answers), SHORTEST_S)
    ratio = ours / theirs
    observe("time_ratio", ratio, limit=MOST_TIME, passed=ratio <= MOST_TIME)
    assert ratio <= MOST_TIME, f"our requests take {ratio:.2f} times as long as ollama's, limit {MOST_TIME:g}"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-OLLAMA-005", severity="P1")
def test_ollama_runs_our_gguf(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Ollama makes a model of our GGUF file, and its raw, greedy answers begin as ours over the same file do."""
    from pytest_aprqa.engines.protocol import GenerationRequest

    if engine.format != "gguf":
        pytest.skip("ollama runs GGUF files")
    problems = []
    with _client(engine.timeout_s) as client:
        client.tags()
        try:
            client.create(OURS, engine.model.artifact("gguf").path)
            for prompt in playbook.blocks[BLOCK]["prompts"]:
                theirs = client.generate(OURS, prompt, temperature=0.0, tokens=TOKENS, raw=True).text
                ours = engine.generate([GenerationRequest("ollama", prompt, "raw", TOKENS)])[0].text
                first = [text.split()[:1] for text in (ours, theirs)]
                observe(f"ollama[{prompt}]", theirs)
                if first[0] != first[1]:
                    problems.append(f"{prompt!r}: ours {ours[:60]!r}, ollama's {theirs[:60]!r}")
        finally:
            client.delete(OURS)
    observe("answers_that_differ", len(problems), limit=0, passed=not problems)
    assert not problems, f"the same file: {listed(problems)}"


def _answers(engine: LoadedEngine, playbook: Playbook) -> list[tuple[str, dict[str, Any], Any]]:
    """(prompt, our text, tokens and seconds, Ollama's answer), asked once an engine. Skips without server or model."""
    from pytest_aprqa.suite.ollama_client import full_name
    from pytest_aprqa.suite.parity import ask_once

    if engine.format != "gguf":
        pytest.skip("ollama runs GGUF files: the GGUF artifact is compared")
    block = playbook.blocks[BLOCK]
    with _client(engine.timeout_s) as client:
        tag = full_name(block["model_tag"])
        if tag not in (names := client.tags()):
            pytest.skip(f"ollama has no model {tag} (it has {', '.join(names[:5]) or 'none'}): ollama pull {tag}")
        stored, wanted = client.stored_types.get(tag), [name.lower() for name in block["quantizations"]]
        if stored is not None and stored not in wanted:
            pytest.skip(f"ollama's {tag} is {stored}, ollama_parity.quantizations names {', '.join(wanted)} only")
        asked = block | {"model_tag": tag}
        return ask_once(engine, BLOCK, lambda: [_ask(engine, client, asked, prompt) for prompt in block["prompts"]])


def _ask(engine: LoadedEngine, client: OllamaClient, block: Any, prompt: str) -> tuple[str, dict[str, Any], Any]:
    from pytest_aprqa.engines.protocol import GenerationRequest

    temperature = float(block["temperature"])
    request = GenerationRequest("ollama", prompt, "chat", TOKENS, temperature=temperature)
    started = time.monotonic()
    result = engine.generate([request])[0]
    ours = {"text": result.text, "tokens": result.new_length or 0, "seconds": time.monotonic() - started}
    theirs = client.generate(block["model_tag"], prompt, temperature=temperature, tokens=TOKENS, raw=False)
    return prompt, ours, theirs


class _client:  # noqa: N801 - reads as the function that it replaces in `with`
    """A client, or a skip that says which server is missing."""

    def __init__(self, timeout_s: float) -> None:
        from pytest_aprqa.suite.ollama_client import OllamaClient

        self._client = OllamaClient(timeout_s)

    def __enter__(self) -> OllamaClient:
        from pytest_aprqa.suite.ollama_client import OllamaUnavailable

        try:
            self._client.tags()
        except OllamaUnavailable as error:
            self._client.__exit__(None, None, None)
            pytest.skip(str(error))
        return self._client

    def __exit__(self, *exception: Any) -> None:
        self._client.__exit__(None, None, None)
