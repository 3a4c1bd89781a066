"""Runs one foreign program to its end: bounded output, no shell, never an orphan; the caller judges what came of it."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_aprqa.engines.errors import EngineUnavailable

OUTPUT_LIMIT = 16 << 20  # bytes kept of each stream; what is longer is read and thrown away
POLL_S = 0.1
BUSY_RETRIES, BUSY_WAIT_S = 3, 0.01  # a program that was written a moment ago: "text file busy"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended. `status` is the exit status, -n after signal n; text is UTF-8, bad bytes replaced."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The line of standard error that says most: `error: ...`, a panic, else the last one."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith("error:") or "panicked at" in line]
        return (telling or lines or [""])[-1][:300]


def start(
    argv: Sequence[str], *, environment: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen[bytes]:
    """Start a program in the caller's process group, so that it ends with it. EngineUnavailable: it cannot start."""
    for attempt in range(BUSY_RETRIES + 1):
        try:
            return subprocess.Popen(
                list(argv),
                env=dict(os.environ) | dict(environment or {}),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                **streams,
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or attempt == BUSY_RETRIES:
                raise EngineUnavailable(f"{argv[0]} cannot be started: {error.strerror or error}") from None
            time.sleep(BUSY_WAIT_S)
    raise AssertionError("unreachable")


def _die_with_parent() -> None:
    _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None).prctl


_PRCTL = _prctl()  # looked up before the fork: after it nothing but the call is safe


def run_program(
    argv: Sequence[str],
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    on_wait: Callable[[], None] | None = None,
    limit_s: float | None = None,
) -> Finished:
    """Run to the end. `on_wait` is called about ten times a second and may raise: the program is killed then.

    TimeoutError after `limit_s` seconds; EngineUnavailable where the program cannot be started.
    """
    started = time.monotonic()
    process = start(
        argv,
        environment=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output = _exchange(process, stdin.encode(), on_wait, started + limit_s if limit_s else None)
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    stdout, stderr = (data.decode("utf-8", errors="replace") for data in output)
    return Finished(tuple(argv), status, stdout, stderr, time.monotonic() - started)


def _exchange(
    process: subprocess.Popen[bytes], data: bytes, on_wait: Callable[[], None] | None, deadline: float | None
) -> tuple[bytes, bytes]:
    """Feed standard input, read both outputs until the program has closed them."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    kept: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        if data:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        else:
            process.stdin.close()
        while selector.get_map():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{process.args!r} did not end in time")
            ready = selector.select(POLL_S)
            if on_wait is not None:
                on_wait()
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    data = _feed(process.stdin, data)
                    if not data:
                        selector.unregister(process.stdin)
                        with contextlib.suppress(OSError):
                            process.stdin.close()
                    continue
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fileobj)
                elif len(kept[key.fileobj]) < OUTPUT_LIMIT:
                    kept[key.fileobj] += piece
            if not ready and process.poll() is not None and _only_inherited(selector, process):
                break
    return bytes(kept[process.stdout]), bytes(kept[process.stderr])


def _only_inherited(selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> bool:
    """The program is gone and its pipes are silent: a process of its own still holds them."""
    return not selector.select(POLL_S)


def _feed(stream: Any, data: bytes) -> bytes:
    try:
        return data[os.write(stream.fileno(), data[: 1 << 16]) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""  # it does not read what it is told: its answer will show
