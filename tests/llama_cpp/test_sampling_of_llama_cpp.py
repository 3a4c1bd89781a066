"""Temperature, top-p, seeds, stop sequences and turns on real llama.cpp: as an engine, and its server by address.

The draws are held against known logits: its own where it tells them, else those of torch over the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llama_cpp.their_server import their_server
from tests.run_of_one_file import entries_of_a_run, observed

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
SELECTED = "draws or top_p or a_seed or stop_seq or every_turn or answers_are_rep or empty_prompt or longer_than"
NAMES = ("SAMPLE-001", "SAMPLE-002", "STAB-001", "STAB-002", "CHAT-004", "HTTP-013", "EDGE-001", "EDGE-002")
GATES = {f"F-{name}" for name in NAMES}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, gguf: Path) -> Any:
    """Run the checks on the file with the options given; entries by gate."""
    monkeypatch.setenv("HOME", str(pytester.path))

    def run(*options: str) -> dict[str, dict[str, Any]]:
        entries = entries_of_a_run(pytester, gguf, "gguf", SELECTED, *options, modalities=("run", "chat", "serve"))
        assert set(entries) >= GATES
        return {gate: entries[gate] for gate in GATES}

    return run


def test_engine_draws_by_its_own_logits(run: Any) -> None:
    """Also what it is asked over HTTP: `top_p` and `stop` go through the server of ours in front of it."""
    entries = run("--engine=llama")
    assert {gate: entry["reason"] for gate, entry in entries.items() if entry["outcome"] != "Corroborated"} == {}
    draws = observed(entries["F-SAMPLE-001"])
    assert (draws["logits_from"], draws["compared"], draws["draws"]) == ("llama.cpp", "ids", 300)
    assert [observed(entries[gate])["status"] for gate in ("F-SAMPLE-002", "F-CHAT-004")] == [200, 200]


def test_its_server_draws_by_the_logits_of_torch(run: Any, gguf: Path) -> None:
    """It tells no ids and no logits, and obeys temperature, top-p, seeds and stop sequences."""
    with their_server(gguf) as url:
        entries = run(f"--engine-url={url}")
    assert {gate: entry["reason"] for gate, entry in entries.items() if entry["outcome"] != "Corroborated"} == {}
    for gate, number in (("F-SAMPLE-001", 300), ("F-SAMPLE-002", 120)):
        draws = observed(entries[gate])
        assert (draws["logits_from"], draws["compared"], draws["draws"]) == ("torch", "texts", number), gate
    assert observed(entries["F-SAMPLE-002"])["status"] == 200
    assert observed(entries["F-CHAT-004"])["status"] == 200
