"""Children of a fork server: what is imported is imported once, each child has its own environment, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_aprqa.engines import forked_process, host
from pytest_aprqa.engines.errors import EngineCrashed
from pytest_aprqa.engines.forked_process import ForkServer, can_be_forked, fork_server
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.selection import TORCH_GPU
from pytest_aprqa.models.artifact import Artifact

pytestmark = pytest.mark.skipif(not can_be_forked("torch"), reason="this system forks no engines")
ROOT = Path(__file__).parents[2]
ENGINE = "tests.engines.misbehaving_engines:Behaves"
ARTIFACT = Artifact("safetensors", Path("model.safetensors"), "published", "0" * 64)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[object, ...], ForkServer]]:
    """Servers of this test alone."""
    own: dict[tuple[object, ...], ForkServer] = {}
    monkeypatch.setattr(forked_process, "_servers", own)
    monkeypatch.setattr(host, "can_be_forked", lambda name: True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield own
    for server in own.values():
        server.end()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 4
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def text_of(engine: EngineHost) -> str:
    return engine.generate([GenerationRequest("a", "x")], timeout_s=10)[0].text


def test_two_engines_come_from_one_server_and_have_their_own_folders(servers: dict[object, ForkServer]) -> None:
    with EngineHost(ENGINE) as one, EngineHost(ENGINE) as other:
        for engine in (one, other):
            engine.load(ARTIFACT, timeout_s=20)
        (server,) = servers.values()
        assert {psutil.Process(engine.pid).ppid() for engine in (one, other)} == {server.pid}
        assert {os.getpgid(engine.pid) for engine in (one, other)} == {one.pid, other.pid}  # type: ignore[arg-type]
        assert [text_of(one), text_of(other)] == ["fine", "fine"]
        assert psutil.Process(server.pid).num_threads() == 1
        pids = one.pid, other.pid
    assert all(gone(pid) for pid in pids if pid)
    assert server.idle
    assert server.lives


def test_another_environment_has_another_server_and_the_idle_one_is_ended(
    servers: dict[object, ForkServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with EngineHost(ENGINE) as one:
        one.load(ARTIFACT, timeout_s=20)
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        with EngineHost(ENGINE) as other:
            other.load(ARTIFACT, timeout_s=20)
            assert len(servers) == 2
            assert text_of(one) == "fine"  # the server of a living engine stays
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    pids = [server.pid for server in servers.values()]
    with EngineHost(ENGINE) as third:
        third.load(ARTIFACT, timeout_s=20)
        assert len(servers) == 1
    assert all(gone(pid) for pid in pids)


def test_a_server_that_is_killed_is_a_crash_of_its_engines_and_the_next_one_starts(
    servers: dict[object, ForkServer],
) -> None:
    with EngineHost(ENGINE) as engine:
        engine.load(ARTIFACT, timeout_s=20)
        pid = engine.pid
        assert pid is not None
        (server,) = servers.values()
        os.kill(server.pid, signal.SIGKILL)
        assert gone(pid)
        with pytest.raises(EngineCrashed, match="SIGKILL"):
            text_of(engine)
        engine.restart()
        engine.load(ARTIFACT, timeout_s=20)
        assert text_of(engine) == "fine"
        assert [living.pid for living in servers.values()] != [server.pid]


def test_an_engine_that_is_closed_before_it_exists_ends_by_itself(servers: dict[object, ForkServer]) -> None:
    engine = EngineHost(ENGINE)
    engine.start()
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 1
    (server,) = servers.values()
    deadline = time.monotonic() + 20
    while not server.idle and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.statuses == {1: 0}
    assert psutil.Process(server.pid).children() == []


@pytest.mark.parametrize("asked_after_its_end", [False, True])
def test_a_server_that_cannot_begin_is_a_crash_with_its_status(
    servers: dict[object, ForkServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_after_its_end: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    if asked_after_its_end:
        start = ForkServer.__init__

        def start_and_end(server: ForkServer, *arguments: object) -> None:
            start(server, *arguments)  # type: ignore[arg-type]
            server._process.wait()

        monkeypatch.setattr(ForkServer, "__init__", start_and_end)
    engine = EngineHost(ENGINE)
    try:
        with pytest.raises(EngineCrashed, match="while starting: exit code 3"):
            engine.load(ARTIFACT, timeout_s=20)
    finally:
        engine.close()


def test_status_of_a_process_that_ended_is_waited_for(servers: dict[object, ForkServer]) -> None:
    engine = EngineHost(ENGINE)
    engine.start()
    process = engine._process
    assert isinstance(process, forked_process.ForkedProcess)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    assert process.poll() == -signal.SIGTERM
    engine.close()


def test_what_the_torch_engine_imports_is_all_that_a_model_needs() -> None:
    script = (
        "import sys, torch, psutil, transformers\n"
        "from pytest_aprqa.engines import torch_engine\n"
        "torch_engine.import_libraries()\n"
        "before = set(sys.modules)\n"
        "config = transformers.AutoConfig.for_model('qwen2', hidden_size=4, num_attention_heads=1, vocab_size=4)\n"
        "with torch.device('meta'):\n"
        "    transformers.AutoModelForCausalLM.from_config(config, attn_implementation='eager')\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "[]\n"


def test_only_engines_that_are_known_to_bear_it_are_forked() -> None:
    assert can_be_forked("torch")
    assert not can_be_forked(TORCH_GPU)  # CUDA does not survive a fork
    assert not can_be_forked("llama?backend=cpu")
    assert not can_be_forked("acme.engine:Engine")


def test_the_server_of_an_environment_is_kept(servers: dict[object, ForkServer]) -> None:
    environment = dict(os.environ)
    one = fork_server(ENGINE, environment)
    assert fork_server(ENGINE, environment | {"TMPDIR": "elsewhere", "PYTEST_CURRENT_TEST": "x"}) is one
    assert fork_server(ENGINE, environment | {"OMP_NUM_THREADS": "3"}) is not one
    assert not one.lives  # nobody needed it
