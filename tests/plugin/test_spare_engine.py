"""While one engine answers, a spare child imports its libraries for the next one that is not forked; none outlives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_aprqa.engine_pool import EnginePool
from pytest_aprqa.engines.errors import EngineError

PLAYBOOK = Path("/somewhere/x.playbook.yaml")
UPCOMING = [(PLAYBOOK, "safetensors", "cpu"), (PLAYBOOK, "safetensors", "gpu"), (PLAYBOOK, "gguf", "cpu")]


class Child:
    """Stands for EngineHost: remembers what was asked of it, in one list for all children."""

    def __init__(self, log, name):
        self.log, self.name, self.number = log, name, sum(event[0] == "new" for event in log) + 1
        log.append(("new", self.number))

    def start(self):
        if ("start", self.number) not in self.log:
            self.log.append(("start", self.number))

    def load(self, artifact, timeout_s):
        self.start()
        self.log.append(("load", self.number, artifact))

    def close(self):
        self.log.append(("close", self.number))


@pytest.fixture
def log(monkeypatch):
    events = []
    monkeypatch.setattr("pytest_aprqa.engines.host.EngineHost", lambda name, threads: Child(events, name))
    monkeypatch.setattr("pytest_aprqa.engines.forked_process.can_be_forked", lambda name: False)
    return events


@pytest.fixture
def model():
    settings = SimpleNamespace(no_gpu=True, apr_binary=None, timeout_ms=1000, engine_url=None, engine=None)
    return SimpleNamespace(
        playbook=SimpleNamespace(path=PLAYBOOK), settings=settings, artifact=lambda format_name: format_name
    )


def test_next_engine_is_started_before_the_first_is_loaded(log, model):
    pool = EnginePool(lambda text: None, 1, UPCOMING)
    pool.engine(model, "safetensors", "cpu")
    assert log.index(("start", 2)) < log.index(("load", 1, "safetensors"))


def test_an_engine_that_is_forked_needs_no_spare(log, model, monkeypatch):
    monkeypatch.setattr("pytest_aprqa.engines.forked_process.can_be_forked", lambda name: name == "torch")
    pool = EnginePool(lambda text: None, 1, UPCOMING)
    pool.engine(model, "safetensors", "cpu")
    pool.engine(model, "gguf", "cpu")
    assert log.index(("new", 2)) > log.index(("load", 1, "safetensors"))


def test_spare_is_used_for_the_next_engine_that_can_run(log, model):
    pool = EnginePool(lambda text: None, 1, UPCOMING)
    pool.engine(model, "safetensors", "cpu")
    with pytest.raises(EngineError, match="--no-gpu"):
        pool.engine(model, "safetensors", "gpu")
    pool.engine(model, "gguf", "cpu")
    assert ("load", 2, "gguf") in log
    assert ("close", 1) in log
    assert ("new", 3) not in log


def test_pool_ends_the_spare(log, model):
    pool = EnginePool(lambda text: None, 1, UPCOMING)
    pool.engine(model, "safetensors", "cpu")
    pool.close()
    assert {("close", 1), ("close", 2)} <= set(log)


def test_last_engine_has_no_spare(log, model):
    EnginePool(lambda text: None, 1, UPCOMING).engine(model, "gguf", "cpu")
    assert [event for event in log if event[0] == "new"] == [("new", 1)]


def test_without_known_plan_there_is_no_spare(log, model):
    EnginePool(lambda text: None, 2).engine(model, "safetensors", "cpu")
    assert [event for event in log if event[0] == "new"] == [("new", 1)]


def test_spare_that_does_not_start_harms_nobody(log, model, monkeypatch):
    def start(self):
        if self.number == 2:
            raise EngineError("no more processes")

    monkeypatch.setattr(Child, "start", start)
    EnginePool(lambda text: None, 1, UPCOMING).engine(model, "safetensors", "cpu")
    assert ("load", 1, "safetensors") in log
