"""The block `ollama_parity` against a stand-in that speaks the routes of Ollama's API, sound and faulty."""

from __future__ import annotations

import hashlib
import json
import socket

import pytest

from tests.http_stand_in import StandIn, serving
from tests.plugin.test_gateways_fail import red

TAG = "tiny:latest"
GATES = {"F-OLLAMA-PULL-001", *(f"F-OLLAMA-{n:03}" for n in range(1, 6))}
SELECTED = "ollama or both_answers or as_fast or take_no_longer"
# The stand-in answers what the engine answers: a sentence of 22 tokens in 0.4 s.
ANSWER = "4 is the answer to that question, I am sure."


class Ollama(StandIn):
    def do_GET(self):
        self.answer_json(
            {
                "models": [
                    {"name": n, "model": n, "details": {"quantization_level": self.server.level}}
                    for n in self.server.models
                ]
            }
            if self.server.fault != "no-tags"
            else {"oops": []}
        )

    def do_POST(self):
        data = self.body()
        if self.path.startswith("/api/blobs/"):
            digest = self.path.rpartition(":")[2]
            self.server.blobs.add(digest)
            self.answer_json({}, 201 if hashlib.sha256(data).hexdigest() == digest else 400)
            return
        body = json.loads(data)
        if self.path == "/api/create":
            known = set(body["files"].values()) <= {f"sha256:{one}" for one in self.server.blobs}
            good = known and self.server.fault != "refuses-our-file"
            self.answer_json({"status": "success"} if good else {"error": "invalid file magic"})
            return
        if self.path == "/api/pull":
            self.pull(body["model"])
            return
        texts = {"silent": "", "other-answer": "Paris"}
        text = texts.get(self.server.fault, ANSWER)
        seconds = 1e-6 if self.server.fault == "much-faster" else 30.0
        spent = int(seconds * 1e9)
        loading = int(600e9) if self.server.fault == "much-faster" else 0  # seconds that are not the answer's
        times = {"eval_count": 22, "eval_duration": spent, "load_duration": loading, "total_duration": loading + spent}
        self.answer_json({"model": body["model"], "response": text, "done": True, "done_reason": "stop"} | times)

    def pull(self, model):
        """As a server of Ollama answers with `"stream": false`: recorded words of its errors."""
        self.server.pulled.append(model)
        if self.server.fault == "no-such-model":
            self.answer_json({"error": "pull model manifest: file does not exist"}, 500)
        elif self.server.fault == "no-network":
            self.answer_json({"error": 'Get "https://registry/v2/": dial tcp: lookup registry: no such host'}, 500)
        else:
            if self.server.fault != "pulls-nothing":
                self.server.models.append(model)
            self.answer_json({"status": "success"})

    def do_DELETE(self):
        self.server.deleted.append(json.loads(self.body())["model"])
        self.answer_json({})


@pytest.fixture
def ollama(monkeypatch):
    state = {"fault": "", "level": "Q4_K_M", "blobs": set(), "deleted": [], "models": [TAG], "pulled": []}
    with serving(Ollama, **state) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.place)
        yield server


@pytest.fixture
def run(project):
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "pytest_aprqa.misbehaving_engine:no_fault"
    """)

    def run(tag=TAG):
        path = project.write_playbook(
            model={"formats": ["gguf"]}, ollama_parity={"enabled": True, "model_tag": tag, "min_perf_ratio": 0.01}
        )
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", SELECTED)
        assert {e["gate_id"] for e in project.evidence()} == GATES
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_a_sound_server_turns_nothing_red_and_our_model_is_removed(run, project, ollama):
    assert run() == {}
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}
    assert len(ollama.blobs) == 1
    assert ollama.deleted == ["aprqa-parity-check"]


@pytest.mark.parametrize(
    ("fault", "gate", "words"),
    [
        ("silent", "F-OLLAMA-001", "ollama says nothing"),
        ("much-faster", "F-OLLAMA-002", "of ollama's speed, limit 0.01"),
        ("much-faster", "F-OLLAMA-003", "times as long as ollama's, limit 3"),
        ("no-tags", "F-OLLAMA-004", "no list of models"),
        ("refuses-our-file", "F-OLLAMA-005", "invalid file magic"),
        ("other-answer", "F-OLLAMA-005", "ollama's 'Paris'"),
    ],
)
def test_a_fault_trips_its_check(run, ollama, fault, gate, words):
    ollama.fault = fault
    assert words in run()[gate]


def test_a_model_stored_in_another_type_than_the_playbooks_is_not_compared(run, project, ollama):
    ollama.level = "Q8_0"
    assert run() == {}
    outcomes = {e["gate_id"]: (e["outcome"], e["reason"]) for e in project.evidence()}
    assert "is q8_0, ollama_parity.quantizations names q4_k_m only" in outcomes["F-OLLAMA-001"][1]
    assert [outcomes[f"F-OLLAMA-{n:03}"][0] for n in (1, 2, 3, 4)] == ["Skipped"] * 3 + ["Corroborated"]


def test_without_a_server_and_without_the_model_the_skips_say_what_to_do(run, project, ollama, monkeypatch):
    ollama.fault = "no-network"
    assert set(run("absent:latest")) == set()
    reasons = {e["gate_id"]: e["reason"] for e in project.evidence() if e["outcome"] == "Skipped"}
    assert "ollama pull absent:latest" in reasons["F-OLLAMA-001"]
    assert "the server cannot fetch a model" in reasons["F-OLLAMA-PULL-001"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    assert run() == {}
    assert all(f"no ollama server at http://127.0.0.1:{port}" in e["reason"] for e in project.evidence())


def test_a_tag_that_is_not_named_is_the_latest(run, project, ollama):
    assert run("tiny") == {}
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}
    assert ollama.pulled == []


def test_a_model_that_is_not_there_is_pulled_before_it_is_asked(run, project, ollama):
    ollama.models.clear()
    assert run() == {}
    assert ollama.pulled == [TAG]
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [("no-such-model", "pull model manifest: file does not exist"), ("pulls-nothing", "does not list it")],
)
def test_a_pull_that_fails_is_falsified_in_the_servers_words(run, ollama, fault, words):
    ollama.models.clear()
    ollama.fault = fault
    assert words in run()["F-OLLAMA-PULL-001"]
