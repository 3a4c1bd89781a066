"""Somebody else's server that tells no token ids and has no /health: sound, nothing is red; with a fault, its check is.

A proxy before our own server takes the ids out of its answers.
"""

from __future__ import annotations

import itertools
import json

import httpx
import pytest

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.models.artifact import describe_artifact
from tests.http_stand_in import StandIn, serving
from tests.plugin.conftest import TINY_MODEL
from tests.plugin.test_gateways_fail import red

SELECTED = (
    "health or answers_are_rep or empty_prompt or longer_than or token_limit or throughput or draws or top_p or a_seed"
)
TOLD_BY_IDS = ("token_ids", "prompt_token_ids")


class Proxy(StandIn):
    numbers = itertools.count()

    def do_GET(self):
        if self.path == "/health":
            self.answer(404, b'{"detail": "Not Found"}')
        else:
            answer = self.server.client.get(self.path)
            self.answer(answer.status_code, answer.content)

    def do_POST(self):
        data = self.body()
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
        if self.server.fault == "hot":
            data = json.dumps(body | {"temperature": 2 * body.get("temperature", 0)}).encode()
        answer = self.server.client.post(self.path, content=data)
        value = answer.json()
        for choice in value.get("choices", []):
            for name in TOLD_BY_IDS:
                choice.pop(name, None)
            if self.server.fault == "drifts" and body.get("max_tokens", 0) > 8:
                choice["text"] += f" {next(self.numbers)}"
        if self.server.fault == "counts nothing":
            value.pop("usage", None)
        self.answer(answer.status_code, json.dumps(value).encode())


@pytest.fixture(scope="module")
def server():
    with EngineHost("torch", threads=1) as host:
        host.load(describe_artifact(TINY_MODEL, "safetensors"), 120)
        client = httpx.Client(base_url=host.serve(120), timeout=600, verify=False)
        with client, serving(Proxy, client=client, fault="") as server:
            yield server


@pytest.fixture
def run(project, server):
    def run(fault, selected=SELECTED):
        server.fault = fault
        profile = {"enabled": True, "warmup": 0, "measure": 3, "assertions": {"min_throughput": 0.01}}
        path = project.write_playbook(
            test_matrix={"modalities": ["run", "serve"], "timeout_ms": 600000}, profile_ci=profile
        )
        project.run(f"--playbook={path}", f"--engine-url={server.url}", "--tb=short", "-q", "-k", selected)
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_a_sound_server_turns_nothing_red(run, project):
    assert run("") == {}
    entries = {e["gate_id"]: e for e in project.evidence()}
    skipped = {gate: e["reason"] for gate, e in entries.items() if e["outcome"] == "Skipped"}
    assert list(skipped) == ["F-HTTP-002"]
    assert "has no route /health" in skipped["F-HTTP-002"]
    assert {"F-STAB-001", "F-STAB-002", "F-EDGE-001", "F-EDGE-002", "F-EDGE-004", "F-PERF-001"} < set(entries)
    observed = {one["name"]: one["value"] for one in entries["F-SAMPLE-001"]["observed"]}
    assert (observed["logits_from"], observed["compared"], observed["draws"]) == ("torch", "texts", 300)


def test_draws_at_another_temperature_are_seen_in_the_texts(run):
    found = run("hot", "draws")
    assert list(found) == ["F-SAMPLE-001"]
    assert "draws do not follow the logits" in found["F-SAMPLE-001"]


def test_texts_that_drift_are_not_reproducible(run):
    found = run("drifts", "reproducible or seed")
    assert set(found) == {"F-STAB-001", "F-STAB-002"}


def test_tokens_that_are_not_counted_are_not_measured(run, project):
    assert set(run("counts nothing", "token_limit or throughput")) == {"F-PERF-001"}
    outcomes = {e["gate_id"]: e["reason"] for e in project.evidence()}
    assert outcomes["F-EDGE-004"] == "the engine does not say how many tokens it generated"
