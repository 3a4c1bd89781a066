"""What an engine leaves on the machine after its end: processes that it started, the port that it served on."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PROCESSES = Path("/proc")
POLL_S = 0.05
CONNECT_S = 0.5


@dataclass(frozen=True, slots=True)
class Traces:
    """What to look for: the child, its own folder for temporary files (inherited by all that it starts), the port."""

    pid: int
    folder: str
    address: tuple[str, int]
    descendants: set[int] = field(default_factory=set)


def traces_of(pid: int, url: str, folder: str) -> Traces | None:
    """To be asked while the engine lives. None where the system does not show its processes."""
    parts = urlsplit(url)
    if not folder or not _environment(pid):
        return None
    address = (str(parts.hostname), int(parts.port or 80))
    return Traces(pid, folder, address, {pid, *(one for one in _processes() if _is_of(one, pid, folder))})


def left_behind(traces: Traces, patience_s: float) -> list[str]:
    """Processes and port that are still there after `patience_s`; empty as soon as nothing is."""
    deadline = time.monotonic() + patience_s
    while found := [*_living(traces), *_open_port(traces)]:
        if time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)
    return []


def _living(traces: Traces) -> Iterator[str]:
    for one in _processes():
        if (one in traces.descendants or _is_of(one, traces.pid, traces.folder)) and not _is_dead(one):
            with contextlib.suppress(OSError):
                words = (PROCESSES / str(one) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield f"process {one}: {words.strip()[:80]}"


def _open_port(traces: Traces) -> Iterator[str]:
    with contextlib.suppress(OSError), socket.create_connection(traces.address, timeout=CONNECT_S):
        yield f"port {traces.address[1]} still answers"


def _processes() -> list[int]:
    return [int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _is_of(one: int, leader: int, folder: str) -> bool:
    """True for a process of the engine's session, or one that inherited its folder, whoever its parent is now."""
    with contextlib.suppress(OSError):
        if os.getsid(one) == leader:
            return True
    return _environment(one).get("TMPDIR") == folder


def _is_dead(one: int) -> bool:
    """True for a process that has ended and waits for its parent to notice."""
    try:
        return (PROCESSES / str(one) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _environment(one: int) -> dict[str, str]:
    """The environment that a process was started with; empty where it cannot be read."""
    try:
        data = (PROCESSES / str(one) / "environ").read_bytes()
    except OSError:
        return {}
    return dict(part.decode(errors="replace").partition("=")[::2] for part in data.split(b"\0") if b"=" in part)
