"""A process that has imported an engine's libraries once and forks a child with them for each engine that is started.

Importing takes seconds, a fork milliseconds. Nothing is computed here, so that no thread is lost in a fork.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import warnings
from typing import Any

from pytest_aprqa.engines import child
from pytest_aprqa.engines.death import die

LENGTH_BYTES = 4  # of a message, before it
DESCRIPTORS = 4  # commands, answers, stderr and, where there is such memory, arrays
PARENT_POLL_S = 1.0


def main() -> None:
    """Serve until the parent closes the connection; children that live then are waited for."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent
    if arguments.die_with_parent:
        child.die_with_parent()
    _import(arguments.module)
    gc.collect()
    gc.freeze()  # a collection in a child would copy the pages of all that was imported
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    server = _Server(socket.socket(fileno=arguments.connection))
    while os.getppid() == arguments.parent and server.turn():
        pass
    server.connection.close()
    if os.getppid() == arguments.parent:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
    os._exit(0)


class _Server:
    """Children by process id, and the connection to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._numbers: dict[int, int] = {}  # of the parent's requests, by process id
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def turn(self) -> bool:
        """Wait for a request or an end of a child and answer it; False when the parent is gone."""
        either: list[Any] = [self.connection, self._woken]
        ready, _, _ = select.select(either, [], [], PARENT_POLL_S)
        if self._woken in ready:
            os.read(self._woken, 1 << 12)
        self._tell_ends()
        if self.connection not in ready:
            return True
        request, descriptors = _receive(self.connection)
        if request is None:
            return False
        self._fork(request, descriptors)
        return True

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> None:
        leading, following = os.pipe()
        process = os.fork()
        if process == 0:
            os.setsid()  # the parent ends the whole group, whatever the engine starts
            os.close(leading)
            os.close(following)
            self.connection.close()
            _become_child(request, descriptors)
        os.close(following)
        os.read(leading, 1)  # ends when the child leads its own session: a group to be killed
        os.close(leading)
        for descriptor in descriptors:
            os.close(descriptor)
        self._numbers[process] = request["number"]
        self._tell(number=request["number"], pid=process)

    def _tell_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(ended.si_pid, signal.SIGKILL)  # what it started, while its number is nobody else's
                status = os.waitstatus_to_exitcode(os.waitpid(ended.si_pid, 0)[1])
                self._tell(number=self._numbers.pop(ended.si_pid), status=status)

    def _tell(self, **message: int) -> None:
        with contextlib.suppress(OSError):  # a parent that is gone is seen when it is listened to
            self.connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """(request, descriptors that came with it); None when the parent closed the connection."""
    data, descriptors, _, _ = socket.recv_fds(connection, LENGTH_BYTES, DESCRIPTORS)
    message = bytearray(data)
    for size in (LENGTH_BYTES, None):
        wanted = size or LENGTH_BYTES + int.from_bytes(message[:LENGTH_BYTES], "little")
        while len(message) < wanted:  # no byte more: the descriptors of the next request come with its first ones
            piece = connection.recv(wanted - len(message))
            if not piece:
                return None, descriptors
            message += piece
    return json.loads(message[LENGTH_BYTES:]), descriptors


def _become_child(request: dict[str, Any], descriptors: list[int]) -> None:
    """Never returns: runs the engine's side of a host."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        commands, answers, errors, *memory = descriptors
        os.dup2(errors, sys.stderr.fileno())
        os.close(errors)
        os.environ.clear()
        os.environ.update(request["environment"])
        tempfile.tempdir = None  # a library may have asked for the server's
        given = ["--commands", str(commands), "--answers", str(answers), "--parent", str(os.getppid())]
        if memory:
            given += ["--memory", str(memory[0])]
        child.run([*request["arguments"], *given, "--die-with-parent"])
    except BaseException as error:
        die(error)


def _import(name: str) -> None:
    """The module of an engine, and what it says that it needs. Where it cannot be imported, the child says so."""
    with contextlib.suppress(Exception):
        module = importlib.import_module(name)
        getattr(module, "import_libraries", lambda: None)()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", required=True)
    parser.add_argument("--connection", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
