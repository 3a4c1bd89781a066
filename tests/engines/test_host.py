"""The parent's side against engines that misbehave: every death is one typed error, the next request is answered."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pytest_aprqa.engines import host as host_module
from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineTimeout
from pytest_aprqa.engines.forked_process import can_be_forked
from pytest_aprqa.engines.host import STDERR_LINE_LENGTH, STDERR_LINES, EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact

ROOT = Path(__file__).parents[2]
GOOD = GenerationRequest("good", "hello")
GUILTY = GenerationRequest("guilty", "guilty")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Artifact("safetensors", tmp_path / "model.safetensors", "published", "0" * 64)


@pytest.fixture(params=["started", "forked"])
def start(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, started_host: Callable[..., EngineHost]
) -> Callable[..., EngineHost]:
    """Hosts whose child is a program of its own, or a fork of a process that has imported the libraries."""
    if request.param == "forked":
        if not can_be_forked("torch"):
            pytest.skip("this system forks no engines")
        monkeypatch.setattr(host_module, "can_be_forked", lambda name: True)
    return lambda name, **options: started_host(f"misbehaving_engines:{name}", **options)


def gone(pid: int, within_s: float = 3.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_answers_come_in_order_with_the_description_and_progress(
    start: Callable[..., EngineHost], artifact: Artifact
) -> None:
    events: list[tuple[str, int, int]] = []
    host = start("Behaves", threads=3, on_progress=lambda *event: events.append(event))
    description = host.load(artifact, timeout_s=20)
    assert (description.name, description.threads) == ("behaves", 3)
    assert host.describe() == description
    results = host.generate([GenerationRequest(key, "x") for key in "cab"], timeout_s=10)
    assert [result.key for result in results] == ["c", "a", "b"]
    assert host.logits([5, 6], timeout_s=10).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert ("loading", 2, 2) in events
    assert events[-1] == ("prompts", 3, 3)


@pytest.mark.parametrize(
    ("name", "signal_name", "exit_code", "last_words"),
    [
        ("Segfaults", "SIGSEGV", -11, "Fatal Python error: Segmentation fault"),
        ("Aborts", "SIGABRT", -6, "Fatal Python error: Aborted"),
        ("IsKilled", "SIGKILL", -9, ""),
        ("Exits", None, 3, ""),
        ("Panics", None, 101, "index out of bounds"),
        ("TokenizerPanics", None, 101, "cannot encode"),
        ("ForksAndDies", None, 7, ""),
    ],
)
def test_death_while_generating_is_a_crash_and_the_engine_starts_again(
    start: Callable[..., EngineHost],
    artifact: Artifact,
    name: str,
    signal_name: str | None,
    exit_code: int,
    last_words: str,
) -> None:
    host = start(name)
    host.load(artifact, timeout_s=20)
    with pytest.raises(EngineCrashed) as caught:
        host.generate([GUILTY], timeout_s=20)
    assert caught.value.signal_name == signal_name
    assert caught.value.exit_code == exit_code
    assert last_words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert host.pid is None
    host.restart()
    host.load(artifact, timeout_s=20)
    assert host.generate([GOOD], timeout_s=10)[0].text == "fine"


@pytest.mark.parametrize("name", ["HangsInLoad", "Hangs", "GeneratesForEver", "Deadlocks", "StartsAProcess"])
def test_time_out_kills_the_whole_group_within_two_seconds_of_the_limit(
    start: Callable[..., EngineHost], artifact: Artifact, name: str
) -> None:
    host = start(name)
    host._call({"command": "ready"}, 20, "starting")
    pid = host.pid
    assert pid is not None
    limit = 0.7
    if name != "HangsInLoad":
        host.load(artifact, timeout_s=20)
    began = time.monotonic()
    with pytest.raises(EngineTimeout) as caught:
        host.load(artifact, timeout_s=limit) if name == "HangsInLoad" else host.generate([GUILTY], timeout_s=limit)
    assert limit <= time.monotonic() - began < limit + 2
    assert caught.value.limit_ms == 700
    assert "within 700 ms" in str(caught.value)
    assert gone(pid)
    if sleeper := re.search(r"sleeper (\d+)", caught.value.stderr_tail):
        assert gone(int(sleeper[1]))
    assert (sleeper is not None) == (name == "StartsAProcess")


def test_long_message_to_a_hanging_child_keeps_the_limit(start: Callable[..., EngineHost], artifact: Artifact) -> None:
    host = start("Behaves")
    host.load(artifact, timeout_s=20)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineTimeout):
        host.generate([GenerationRequest("long", "x" * (4 << 20))], timeout_s=0.5)
    assert time.monotonic() - began < 2.5


def test_long_prompts_and_huge_answers_cross_the_pipe(start: Callable[..., EngineHost], artifact: Artifact) -> None:
    host = start("AnswersHugely")
    host.load(artifact, timeout_s=20)
    (result,) = host.generate([GenerationRequest("long", "x" * (4 << 20))], timeout_s=30)
    assert len(result.text) == 16 << 20
    array = host.logits(range(4), timeout_s=30)
    assert array.shape == (4, 1 << 20)
    assert float(array.min()) == float(array.max()) == 0.5


def test_out_of_memory_under_a_limit_is_a_crash_and_the_engine_starts_again(
    start: Callable[..., EngineHost], artifact: Artifact
) -> None:
    host = start("EatsMemory", memory_limit=1 << 30)
    host.load(artifact, timeout_s=20)
    with pytest.raises(EngineCrashed, match="exit code 12; last words: MemoryError: the engine ran out of memory"):
        host.generate([GUILTY], timeout_s=30)
    host.restart()
    host.load(artifact, timeout_s=20)
    assert host.generate([GOOD], timeout_s=10)[0].text == "fine"


def test_noise_on_both_streams_is_no_answer_and_the_tail_is_bounded(
    start: Callable[..., EngineHost], artifact: Artifact
) -> None:
    host = start("TalksALot")
    host.load(artifact, timeout_s=20)
    assert host.generate([GOOD], timeout_s=20)[0].text == "fine"
    with pytest.raises(EngineCrashed, match="exit code 9; last words: bad bytes ���") as caught:
        host.generate([GenerationRequest("last", "die")], timeout_s=20)
    assert len(caught.value.stderr_tail.splitlines()) <= STDERR_LINES
    assert len(caught.value.stderr_tail) <= STDERR_LINES * (STDERR_LINE_LENGTH + 1)
    assert len(str(caught.value)) < 400


def test_exception_is_one_line_and_the_engine_lives(start: Callable[..., EngineHost], artifact: Artifact) -> None:
    host = start("Raises")
    host.load(artifact, timeout_s=20)
    pid = host.pid
    with pytest.raises(EngineError, match=r"KeyError: .*first line") as caught:
        host.generate([GUILTY], timeout_s=10)
    assert "\n" not in str(caught.value)
    assert host.generate([GOOD], timeout_s=10)[0].text == "fine"
    assert host.pid == pid


def test_refused_artifact_is_a_load_error_in_the_words_of_the_engine(
    start: Callable[..., EngineHost], artifact: Artifact
) -> None:
    with pytest.raises(EngineLoadError) as caught:
        start("RefusesToLoad").load(artifact, timeout_s=20)
    assert str(caught.value) == "tensor x is missing"


@pytest.mark.parametrize(
    ("name", "reason"), [("DoesNotStart", "ImportError: no library libwrong.so"), ("NoSuchEngine", "NoSuchEngine")]
)
def test_engine_that_does_not_start_is_a_crash_with_the_reason(
    start: Callable[..., EngineHost], artifact: Artifact, name: str, reason: str
) -> None:
    with pytest.raises(EngineCrashed, match=f"while starting: exit code 1; last words: .*{reason}"):
        start(name).load(artifact, timeout_s=20)


def test_child_killed_between_two_requests_is_a_crash_of_the_next(
    start: Callable[..., EngineHost], artifact: Artifact
) -> None:
    host = start("Behaves")
    host.load(artifact, timeout_s=20)
    assert host.death() is None
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    assert gone(host.pid)
    with pytest.raises(EngineCrashed, match="SIGKILL"):
        host.generate([GOOD], timeout_s=10)


def test_close_twice_leaves_no_process_and_no_pipe(start: Callable[..., EngineHost], artifact: Artifact) -> None:
    start("Behaves").close()  # the connection to a fork server stays
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    host = start("Behaves")
    host.load(artifact, timeout_s=20)
    pid = host.pid
    assert pid is not None
    host.close()
    host.close()
    assert gone(pid)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(EngineError, match="not started"):
        host.generate([GOOD], timeout_s=1)


PARENT = """
import sys, time
from dataclasses import replace
from pathlib import Path
from pytest_aprqa.engines import host as module
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact
module.can_be_forked = lambda name: sys.argv[1] == "forked"
with EngineHost("tests.engines.misbehaving_engines:Hangs") as host:
    host.load(Artifact("safetensors", Path("x"), "published", ""), timeout_s=20)
    print(host.pid, flush=True)
    host.generate([GenerationRequest("g", "guilty")], timeout_s=60)
"""


@pytest.mark.parametrize("kind", ["started", "forked"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan_survives_its_parent(ending: signal.Signals, kind: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert psutil.pid_exists(child)
        assert os.getpgid(child) == child  # a signal to the parent's group does not reach it
        os.killpg(parent.pid, ending)
        parent.wait(timeout=10)
        assert gone(child, within_s=4)
    finally:
        parent.stdout.close()
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


def test_interrupt_does_not_kill_the_child(start: Callable[..., EngineHost], artifact: Artifact) -> None:
    host = start("Behaves")
    host.load(artifact, timeout_s=20)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGINT)
    assert host.generate([GOOD], timeout_s=10)[0].text == "fine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: found 0, limit at least 1"),
        ({"temperature": -0.01}, "temperature: found -0.01, limit a finite number of at least 0"),
        ({"temperature": float("inf")}, "temperature: found inf"),
        ({"mode": "serve"}, "mode: found 'serve', limit raw or chat"),
        ({"seed": -1}, "seed: found -1, limit at least 0"),
        ({"prompt": "ab\udfff"}, "prompt: no text: half a character (U+DFFF) at position 2"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "half a character (U+D83D) at position 0"),
    ],
)
def test_bad_arguments_reach_no_engine_and_the_others_are_answered(
    start: Callable[..., EngineHost], artifact: Artifact, changes: dict[str, object], words: str
) -> None:
    host = start("Segfaults")  # which dies of a guilty prompt, if it sees it
    host.load(artifact, timeout_s=20)
    bad = replace(GUILTY, **changes) if "prompt" not in changes else replace(GOOD, **changes)
    first, refused, last = host.generate([GOOD, bad, GOOD], timeout_s=20)
    assert (first.text, last.text) == ("fine", "fine")
    assert words in str(refused.error)
    assert refused.finish_reason == "error"
    (alone,) = host.generate([bad], timeout_s=20)
    assert words in str(alone.error)


@pytest.mark.parametrize(
    "changes", [{"max_new_tokens": 1}, {"temperature": 0.0}, {"seed": 0}, {"prompt": "\U0001f600"}]
)
def test_arguments_at_their_limits_are_sound(changes: dict[str, object]) -> None:
    assert replace(GOOD, **changes).problem is None
