"""What an engine leaves behind is found: processes in other sessions, a port; and nothing where nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_aprqa.suite.left_behind import left_behind, traces_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system shows no processes")
CHILD = """
import subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], start_new_session=True)
print(helper.pid, flush=True)
time.sleep(20)
"""


@pytest.fixture
def engine(tmp_path):
    """A process with a folder of its own that started another one in a session of its own."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    helper = int(process.stdout.readline())
    yield process, helper
    for one in (process.pid, helper):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_helper_that_survives_its_engine_is_named_until_it_ends(engine, tmp_path):
    process, helper = engine
    traces = traces_of(process.pid, "http://127.0.0.1:1", str(tmp_path))
    assert {process.pid, helper} <= traces.descendants
    process.kill()
    process.wait()
    (found,) = left_behind(traces, 0.2)
    assert found.startswith(f"process {helper}: ")
    os.kill(helper, signal.SIGKILL)
    started = time.monotonic()
    assert left_behind(traces, 5.0) == []
    assert time.monotonic() - started < 5.0


def test_a_port_that_still_answers_is_named(engine, tmp_path):
    process, helper = engine
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        traces = traces_of(process.pid, f"http://127.0.0.1:{port}", str(tmp_path))
        for one in (helper, process.pid):
            os.kill(one, signal.SIGKILL)
        process.wait()
        assert left_behind(traces, 0.2) == [f"port {port} still answers"]
    assert left_behind(traces, 0.2) == []


def test_a_process_that_shows_nothing_is_not_judged(tmp_path):
    assert traces_of(2**22 + 1, "http://127.0.0.1:1", str(tmp_path)) is None
