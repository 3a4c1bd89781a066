"""Log-probabilities of real llama.cpp, as an engine and as its own server: those of known logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.llama_cpp.their_server import their_server

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
GATES = ("F-LOGPROB-001", "F-LOGPROB-002", "F-LOGPROB-003")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    from pytest_aprqa.lifecycle.derive import derive

    return derive(MODEL, "gguf", cache=tmp_path / "cache", dtype="f32").path


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, gguf: Path) -> Any:
    """Run the checks on the file with the options given; (outcome, reason, observed) by gate."""
    monkeypatch.setenv("HOME", str(pytester.path))
    document = {
        "name": "scores",
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
    path = pytester.path / "scores.playbook.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")

    def run(*options: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
        pytester.runpytest_subprocess(
            f"--playbook={path}", *options, "-p", "no:cacheprovider", "-q", "--tb=short", "-k", "logprobs"
        )
        text = (pytester.path / "evidence/latest/evidence.json").read_text(encoding="utf-8")
        entries = {entry["gate_id"]: entry for entry in json.loads(text)}
        assert set(entries) >= set(GATES)
        return {
            gate: (
                entries[gate]["outcome"],
                entries[gate]["reason"],
                {one["name"]: one["value"] for one in entries[gate]["observed"]},
            )
            for gate in GATES
        }

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
