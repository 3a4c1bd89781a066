"""The parent's side of a fork server: one for the engines of this process, and each child as a process object."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_aprqa.engines.child import location
from pytest_aprqa.engines.fork_server import LENGTH_BYTES

# Its libraries are large and bear a fork. CUDA does not, once anything has counted the devices; the engines of plugins
# may not: they are started on their own.
FORKED = ("torch",)
OF_ONE_CHILD = ("TMPDIR", "PYTEST_CURRENT_TEST")  # what may differ between the children of one server
GRACE_S = 2.0
_lock = threading.RLock()
_servers: dict[tuple[Any, ...], ForkServer] = {}


def can_be_forked(engine: str) -> bool:
    """Whether the engine of this name comes from a fork server on this system."""
    return engine in FORKED and sys.platform == "linux" and hasattr(socket, "send_fds")


class ForkedProcess:
    """As much of `subprocess.Popen` as a host needs. The process exists when the server has imported its libraries."""

    def __init__(self, server: ForkServer, number: int, stderr: io.BufferedReader) -> None:
        self._server = server
        self._number = number
        self.stderr = stderr

    @property
    def pid(self) -> int:
        """Process id; waits for the process to exist. That of the server where it ended before."""
        self._server.listen(lambda: self._number in self._server.pids or self._ended is not None, None)
        return self._server.pids.get(self._number, self._server.pid)

    def poll(self) -> int | None:
        """Exit status, or None while it lives or does not exist yet."""
        self._server.listen(lambda: self._ended is not None, 0)
        return self._ended

    def wait(self, timeout: float | None = None) -> int:
        """Exit status. subprocess.TimeoutExpired."""
        self._server.listen(lambda: self._ended is not None, timeout)
        if self._ended is None:
            raise subprocess.TimeoutExpired("engine", timeout or 0)
        return self._ended

    def kill(self) -> None:
        """SIGKILL to its process group, with all that it started.

        One that ended the server has cleared away, and its number may be another's; one that does not exist yet finds
        its pipes closed and ends.
        """
        if self.poll() is None and (pid := self._server.pids.get(self._number)) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    @property
    def born(self) -> bool:
        """Whether the process exists, or existed."""
        self.poll()
        return self._number in self._server.pids

    @property
    def _ended(self) -> int | None:
        return self._server.statuses.get(self._number, self._server.gone)


class ForkServer:
    """The process of `fork_server.py` for the libraries of one module and one environment."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [
                sys.executable, "-m", "pytest_aprqa.engines.fork_server", "--module", module,
                "--connection", str(theirs.fileno()), "--parent", str(os.getpid()),
            ]  # fmt: skip
            if threading.current_thread() is threading.main_thread():
                arguments.append("--die-with-parent")  # the kernel ends it with the thread that started it
            try:
                self._process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env={name: value for name, value in environment.items() if name not in OF_ONE_CHILD},
                )
            except OSError:
                ours.close()
                raise
        self._connection = ours
        self._buffer = bytearray()
        self._count = 0
        self.pid = self._process.pid
        self.pids: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.gone: int | None = None  # status of the server itself, once it ended: its children end with it

    def fork(
        self, arguments: Sequence[str], environment: Mapping[str, str], commands: int, answers: int, memory: int | None
    ) -> ForkedProcess:
        """Ask for a child that reads commands and writes answers at these descriptors."""
        reading, writing = os.pipe()
        stderr = os.fdopen(reading, "rb")
        with _lock:
            self._count += 1
            request = {"number": self._count, "arguments": list(arguments), "environment": dict(environment)}
            data = json.dumps(request).encode()
            descriptors = [commands, answers, writing, *([] if memory is None else [memory])]
            with contextlib.suppress(OSError):  # the server is gone: its status will be that of the child
                socket.send_fds(self._connection, [len(data).to_bytes(LENGTH_BYTES, "little")], descriptors)
                self._connection.sendall(data)
            os.close(writing)
            return ForkedProcess(self, self._count, stderr)

    def listen(self, known: Any, timeout_s: float | None) -> None:
        """Take what the server tells until KNOWN() or the time is over. Of several threads one at a time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with _lock:
                if known() or self.gone is not None:
                    return
                self._take()
                if known() or self.gone is not None or (deadline is not None and time.monotonic() >= deadline):
                    return
                left = GRACE_S if deadline is None else max(0.0, deadline - time.monotonic())
                select.select([self._connection], [], [], min(left, 0.05))

    def _take(self) -> None:
        while select.select([self._connection], [], [], 0)[0]:
            try:
                piece = self._connection.recv(1 << 16)
            except OSError:
                piece = b""
            if not piece:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.gone = self._process.wait(GRACE_S)
                self.gone = -signal.SIGKILL if self.gone is None else self.gone
                return
            self._buffer += piece
            *lines, rest = self._buffer.split(b"\n")
            self._buffer = bytearray(rest)
            for line in lines:
                told = json.loads(line)
                if "pid" in told:
                    self.pids[told["number"]] = told["pid"]
                else:
                    self.statuses[told["number"]] = told["status"]

    @property
    def lives(self) -> bool:
        """Whether it can still be asked."""
        return self.gone is None and self._process.poll() is None

    @property
    def idle(self) -> bool:
        """Whether each child that was asked for has ended."""
        self._take()
        return len(self.statuses) == self._count

    def end(self) -> None:
        """Kill it; the kernel ends its children."""
        self._process.kill()
        self._process.wait()
        self.gone = -signal.SIGKILL
        self._connection.close()


def fork_server(engine: str, environment: Mapping[str, str]) -> ForkServer:
    """The server of this process for an engine in an environment, started where there is none. OSError."""
    module = location(engine)[0]
    key = (module, tuple(sorted((k, v) for k, v in environment.items() if k not in OF_ONE_CHILD)))
    with _lock:
        server = _servers.get(key)
        if server is None or not server.lives:
            for other in [k for k, s in _servers.items() if not s.lives or s.idle]:  # each holds its libraries
                _servers.pop(other).end()
            server = _servers[key] = ForkServer(module, environment)
        return server


def end_all_servers() -> None:
    """Kill and reap every server that this process started."""
    with _lock:
        for server in _servers.values():
            server.end()
        _servers.clear()


os.register_at_fork(after_in_child=_servers.clear)
