"""The parent's side, interrupted: no answer is taken for another's, no process and no pipe is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_aprqa.engines.errors import EngineError, EngineTimeout, EngineUnavailable
from pytest_aprqa.engines.host import EngineHost, living_engines
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact

ROOT = Path(__file__).parents[2]
ARTIFACT = Artifact("safetensors", Path("model.safetensors"), "published", "0" * 64)


class Alarm(BaseException):
    """What pytest-timeout and Ctrl-C are: raised out of a signal handler, and no `Exception`."""


@pytest.fixture
def start(started_host: Callable[..., EngineHost]) -> Callable[..., EngineHost]:
    return lambda name, **options: started_host(f"interrupted_engines:{name}", **options)


@pytest.fixture
def alarm_after() -> Iterator[Callable[[float], None]]:
    def ring(number: int, frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def text_of(host: EngineHost, key: str, prompt: str = "x") -> str:
    return host.generate([GenerationRequest(key, prompt)], timeout_s=20)[0].text


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_answer_of_an_interrupted_call_is_not_taken_for_the_next(
    start: Callable[..., EngineHost], alarm_after: Callable[[float], None]
) -> None:
    host = start("NamesItsRequest")
    host.load(ARTIFACT, timeout_s=20)
    pid = host.pid
    for number in range(3):
        alarm_after(0.1)
        with pytest.raises(Alarm):
            text_of(host, "interrupted", "slow")
        assert text_of(host, f"next {number}") == f"next {number}"
    assert host.describe().name == "behaves"
    assert host.pid == pid


def test_calls_interrupted_one_after_the_other_are_all_thrown_away(
    start: Callable[..., EngineHost], alarm_after: Callable[[float], None]
) -> None:
    host = start("NamesItsRequest")
    host.load(ARTIFACT, timeout_s=20)
    for _ in range(3):
        alarm_after(0.05)
        with pytest.raises(Alarm):
            text_of(host, "interrupted", "slow")
    assert text_of(host, "next") == "next"


def test_progress_callback_that_raises_does_not_shift_the_answers(start: Callable[..., EngineHost]) -> None:
    calls = []

    def progress(*event: object) -> None:
        calls.append(event)
        if len(calls) == 2:
            raise ZeroDivisionError

    host = start("NamesItsRequest", on_progress=progress)
    with pytest.raises(ZeroDivisionError):
        host.load(ARTIFACT, timeout_s=20)
    assert text_of(host, "next") == "next"


def test_interrupted_in_writing_and_in_reading_long_messages(
    start: Callable[..., EngineHost], alarm_after: Callable[[float], None]
) -> None:
    host = start("NamesItsRequest")
    host.load(ARTIFACT, timeout_s=20)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)  # the pipe fills up: the command is cut in two
    alarm_after(0.2)
    with pytest.raises(Alarm):
        text_of(host, "cut", "x" * (1 << 20))
    os.kill(host.pid, signal.SIGCONT)
    assert text_of(host, "after cut") == "after cut"
    for delay in (0.21, 0.23, 0.26, 0.3):  # megabytes of an answer, some of them lost
        alarm_after(delay)
        try:
            host.logits([1, 2, 3, 4, 5, 6], timeout_s=30)
        except Alarm:
            pass
        else:
            alarm_after(0)
        assert text_of(host, f"after {delay}") == f"after {delay}"
    assert float(host.logits([9], timeout_s=30)[0, 0]) == 9.0


def test_limit_of_a_call_includes_waiting_for_an_interrupted_one(
    start: Callable[..., EngineHost], alarm_after: Callable[[float], None]
) -> None:
    host = start("NamesItsRequest")
    host.load(ARTIFACT, timeout_s=20)
    alarm_after(0.05)
    with pytest.raises(Alarm):
        text_of(host, "interrupted", "slow")
    with pytest.raises(EngineTimeout):
        host.generate([GenerationRequest("next", "x")], timeout_s=0.1)
    host.load(ARTIFACT, timeout_s=20)
    assert text_of(host, "again") == "again"


PARENT = """
import sys, threading
from pathlib import Path
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact
host = EngineHost("tests.engines.interrupted_engines:HoldsTheInterpreter")
host.load(Artifact("safetensors", Path("x"), "published", ""), timeout_s=20)
print(host.pid, flush=True)
def say_when_it_holds():
    while "holding" not in host.stderr_tail:
        pass
    print("holding", flush=True)
threading.Thread(target=say_when_it_holds, daemon=True).start()
host.generate([GenerationRequest("g", "guilty")], timeout_s=60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal for the death of a parent")
def test_child_in_native_code_does_not_survive_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert parent.stdout.readline() == b"holding\n"
        parent.kill()
        parent.wait(timeout=10)
        assert gone(child)
    finally:
        parent.stdout.close()
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


def test_child_started_by_a_thread_outlives_the_thread(start: Callable[..., EngineHost]) -> None:
    hosts: list[EngineHost] = []
    thread = threading.Thread(target=lambda: hosts.append(start("NamesItsRequest")))
    thread.start()
    thread.join()
    (host,) = hosts
    host.load(ARTIFACT, timeout_s=20)
    assert text_of(host, "alive") == "alive"


def test_a_fork_of_the_parent_ends_without_ending_the_child(start: Callable[..., EngineHost]) -> None:
    host = start("NamesItsRequest")
    host.load(ARTIFACT, timeout_s=20)
    assert host.pid in living_engines()
    fork = os.fork()
    if fork == 0:
        from pytest_aprqa.engines.host import end_all_engines

        none = living_engines() == []
        end_all_engines()
        os._exit(0 if none else 1)
    assert os.waitpid(fork, 0)[1] == 0
    assert text_of(host, "alive") == "alive"
    host.close()
    assert living_engines() == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_process_that_cannot_be_started_is_one_line_and_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    host = EngineHost("tests.engines.interrupted_engines:NamesItsRequest")
    with pytest.raises(EngineError, match=r"cannot be started: .*/no/such/python") as caught:
        host.start()
    assert "\n" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_backend_that_only_the_child_finds_missing_is_unavailable(start: Callable[..., EngineHost]) -> None:
    with pytest.raises(EngineUnavailable, match="no GPU: the driver is too old"):
        start("HasNoDevice").load(ARTIFACT, timeout_s=20)
