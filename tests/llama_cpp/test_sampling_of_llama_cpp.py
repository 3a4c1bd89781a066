"""Temperature, top-p, seeds, stop sequences and turns on real llama.cpp: as an engine, and its server by address.

The draws are held against known logits: its own where it tells them, else those of torch over the same file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_aprqa.models.artifact import describe_artifact
from tests.llama_cpp.their_server import their_server

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
SELECTED = "draws or top_p or a_seed or stop_seq or every_turn or answers_are_rep or empty_prompt or longer_than"
NAMES = ("SAMPLE-001", "SAMPLE-002", "STAB-001", "STAB-002", "CHAT-004", "HTTP-013", "EDGE-001", "EDGE-002")
GATES = {f"F-{name}" for name in NAMES}


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    from pytest_aprqa.lifecycle.derive import derive

    return derive(MODEL, "gguf", cache=tmp_path / "cache", dtype="f32").path


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, gguf: Path) -> Any:
    """Run the checks on the file with the options given; entries by gate."""
    monkeypatch.setenv("HOME", str(pytester.path))
    document = {
        "name": "sampling",
        "version": "1.0.0",
        "model": {"hf_repo": "aprqa/tiny-qwen2", "local_path": str(gguf), "formats": ["gguf"], "size_category": "tiny"},
        "test_matrix": {
            "modalities": ["run", "chat", "serve"],
            "backends": ["cpu"],
            "scenario_count": 2,
            "prompts": ["What is 2+2?", "Hello!"],
            "timeout_ms": 600000,
        },
    }
    path = pytester.path / "sampling.playbook.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert describe_artifact(gguf, "gguf").sha256

    def run(*options: str) -> dict[str, dict[str, Any]]:
        pytester.runpytest_subprocess(
            f"--playbook={path}", *options, "-p", "no:cacheprovider", "-q", "--tb=short", "-k", SELECTED
        )
        text = (pytester.path / "evidence/latest/evidence.json").read_text(encoding="utf-8")
        entries = {entry["gate_id"]: entry for entry in json.loads(text)}
        assert set(entries) >= GATES
        return {gate: entries[gate] for gate in GATES}

    return run


def observed(entry: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in entry["observed"]}


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
