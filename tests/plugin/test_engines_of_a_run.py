"""Engines of a whole run: `apr`, a server by address, an engine of a plugin; wrong choices are usage errors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.http_stand_in import StandIn, serving

HERE = Path(__file__)
FAKE_APR = HERE.parents[1] / "engines" / "fake_apr.py"
KEY = "secret-key-of-somebody"


@pytest.fixture
def program(project):
    path = project.path / "apr"
    path.write_text(f"#!{sys.executable}\n" + FAKE_APR.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--apr-binary=/no/such/apr"], "--apr-binary /no/such/apr: no such program; give the path of an `apr`"),
        (["--apr-binary={here}"], "it is not an executable file"),
        (["--apr-binary=/bin/ls"], "not an apr version"),
        (["--engine=nothing"], "found engine 'nothing', known: torch, llama, apr, url"),
        (["--engine=onnx=torch"], "found format 'onnx'"),
        (["--engine-url=ftp://x"], "--engine-url: found 'ftp://x'"),
        (["--engine-url=http://me:secret@host"], "put the key in APRQA_ENGINE_KEY"),
    ],
)
def test_wrong_choices_end_the_run_before_the_first_item(project, options, words):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", *(option.format(here=HERE) for option in options))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert words in text
    assert "secret" not in text
    assert "Traceback" not in text


def apr_playbook(project, *prompts):
    return project.write_playbook(
        model={"formats": ["apr"]}, test_matrix={"modalities": ["run", "chat"], "prompts": list(prompts)}
    )


@pytest.mark.parametrize(
    ("mode", "gate", "outcome", "words"),
    [
        ("panic", "G3-STABLE", "Crashed", "exit code 101"),
        ("fell-back", "G2-BASIC", "Falsified", "fell back"),
        ("silent", "G2-BASIC", "Falsified", "no JSON"),
    ],
)
def test_misbehaviour_of_the_apr_program_has_its_outcome(project, program, monkeypatch, mode, gate, outcome, words):
    monkeypatch.setenv("FAKE_APR", mode)
    path = apr_playbook(project, "hello", "guilty")
    project.run(f"--playbook={path}", f"--apr-binary={program}", "-q", "-k", "basic_inference or survives")
    entries = {e["gate_id"]: e for e in project.evidence() if e["scenario"]["modality"] == "run"}
    assert entries[gate]["outcome"] == outcome, entries
    assert words in entries[gate]["reason"]
    assert entries[gate]["engine"]["name"] == "apr"
    assert entries[gate]["engine"]["version"] == "0.72.3"
    if mode == "panic":
        assert "division by zero" in entries[gate]["stderr"]


def test_hang_of_the_apr_program_is_a_timeout(project, program, monkeypatch):
    monkeypatch.setenv("FAKE_APR", "hang")
    path = apr_playbook(project, "hello", "guilty")
    project.run(
        f"--playbook={path}", f"--apr-binary={program}", "--scenario-timeout=1500", "-q", "-k", "survives and run"
    )
    (entry,) = [e for e in project.evidence() if e["gate_id"] == "G3-STABLE"]
    assert entry["outcome"] == "Timeout"


def test_engine_of_a_plugin_runs_and_is_named(project, monkeypatch):
    shutil.copy(HERE.with_name("template_faults.py"), project.path)
    monkeypatch.setenv("PYTHONPATH", str(project.path))
    monkeypatch.setenv("APRQA_FAULT", "")
    project.pytester.makeconftest("""
        from pytest_aprqa.engines.plugins import EnginePlugin

        def pytest_aprqa_engines(config):
            return [EnginePlugin("mine", "template_faults:TemplateFaults", preferred_for=("safetensors",))]
    """)
    path = project.write_playbook()
    for options, name in (([], "template-faults"), (["--engine=torch"], "torch")):
        project.run(f"--playbook={path}", *options, "-q", "-k", "model_loads")
        (entry,) = [e for e in project.evidence() if e["gate_id"] == "G1-LOAD-001"]
        assert entry["engine"]["name"] == name


class Server(StandIn):
    """OpenAI-compatible as far as it is asked; repeats the key in a refusal, as servers do."""

    def do_GET(self):
        self.tell({"data": [{"id": "served"}]} if self.path == "/v1/models" else {"status": "ok"})

    def do_POST(self):
        body = json.loads(self.body())
        if body.get("prompt") == "guilty":
            self.tell({"error": f"no answer for {self.headers['authorization']}"}, 403)
        else:
            self.tell({"choices": [{"text": "4 is the answer.", "finish_reason": "stop"}]})

    def tell(self, value, status=200):
        if self.headers["authorization"] != f"Bearer {KEY}":
            status, value = 401, {"error": "key"}
        self.answer_json(value, status)


@pytest.fixture
def address():
    with serving(Server) as server:
        yield server.url


def test_key_of_a_server_is_sent_and_is_in_no_evidence(project, address, monkeypatch):
    path = project.write_playbook(test_matrix={"prompts": ["What is 2+2?", "guilty"]})
    monkeypatch.setenv("APRQA_ENGINE_KEY", KEY)
    result = project.run(f"--playbook={path}", f"--engine-url={address}", "-k", "model_loads or basic_inference")
    entries = {e["gate_id"]: e for e in project.evidence()}
    assert entries["G1-LOAD-001"]["outcome"] == "Corroborated"
    assert entries["G1-LOAD-001"]["engine"]["details"]["url"] == address
    assert "no answer for Bearer [key]" in entries["G2-BASIC"]["reason"]
    told = [p for p in (project.path / "evidence").rglob("*") if p.is_file()]
    assert told
    assert not any(KEY.encode() in p.read_bytes() for p in told)
    assert KEY not in result.stdout.str() + result.stderr.str()


def test_server_that_refuses_the_key_skips_with_the_reason(project, address, monkeypatch):
    path = project.write_playbook()
    monkeypatch.setenv("APRQA_ENGINE_KEY", "wrong")
    project.run(f"--playbook={path}", f"--engine-url={address}", "-k", "model_loads")
    (entry,) = project.evidence()
    assert entry["outcome"] == "Skipped"
    assert "refuses the key of APRQA_ENGINE_KEY" in entry["reason"]
