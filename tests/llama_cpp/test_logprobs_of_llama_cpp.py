"""Log-probabilities of real llama.cpp, as an engine and as its own server: those of known logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llama_cpp.their_server import their_server
from tests.run_of_one_file import entries_of_a_run, summary

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
GATES = ("F-LOGPROB-001", "F-LOGPROB-002", "F-LOGPROB-003")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, gguf: Path) -> Any:
    """Run the checks on the file with the options given; (outcome, reason, observed) by gate."""
    monkeypatch.setenv("HOME", str(pytester.path))

    def run(*options: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
        entries = entries_of_a_run(pytester, gguf, "gguf", "logprobs", *options, modalities=("run", "chat", "serve"))
        assert set(entries) >= set(GATES)
        return {gate: summary(entries[gate]) for gate in GATES}

    return run


def test_the_engine_tells_those_of_its_own_logits(run: Any) -> None:
    found = run("--engine=llama")
    assert {gate: one[0] for gate, one in found.items()} == dict.fromkeys(GATES, "Corroborated"), found
    for gate in GATES[:2]:
        observed = found[gate][2]
        assert observed["logits_from"] == "llama.cpp"
        assert observed["positions_compared"] >= 6
        assert observed["rms_difference"] < 0.015


def test_its_server_tells_those_of_torch(run: Any, gguf: Path) -> None:
    with their_server(gguf) as url:
        found = run(f"--engine-url={url}")
    assert {gate: one[0] for gate, one in found.items()} == dict.fromkeys(GATES, "Corroborated"), found
    for gate in GATES[:2]:
        observed = found[gate][2]
        assert observed["logits_from"] == "torch"
        assert observed["positions_compared"] >= 6
        assert observed["values_compared"] >= 20
        assert observed["rms_difference"] < 0.015
