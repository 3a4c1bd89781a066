"""`apr serve run` as a process of its own: free port, temporary folder of its own, ready when its health says so."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_aprqa.engines.apr_arguments import serve_arguments
from pytest_aprqa.engines.apr_exit_codes import problem_of
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.process import Finished, start

if TYPE_CHECKING:
    from pytest_aprqa.engines.apr_program import AprProgram

HOST = "127.0.0.1"
READY_LIMIT_S = 120.0
POLL_S = 0.05
READY_STATES = ("ok", "healthy")
LOG_TAIL = 40  # lines


class AprServer:
    """One server over one model. `close` ends it; it ends with the process that started it in any case."""

    def __init__(self, program: AprProgram, model: Path, backend: str, port: int | None = None) -> None:
        self.port = port or _free_port()
        self.url = f"http://{HOST}:{self.port}"
        # Over SafeTensors the program serves a copy under a fixed name in the temporary folder.
        self._folder = Path(tempfile.mkdtemp(prefix="aprqa-serve-"))
        self._log = self._folder / "server.log"
        self._argv = serve_arguments(program, model, self.port, backend)
        self._backend = backend
        try:
            with self._log.open("wb") as log:
                self._process = start(
                    self._argv,
                    environment={"TMPDIR": str(self._folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline:
            if (problem := self.problem()) is not None:
                raise problem
            if _is_ready(self.port):
                return
            time.sleep(POLL_S)
        raise EngineError(f"apr serve did not become ready within {READY_LIMIT_S:.0f} s: {self.log_tail()[-200:]!r}")

    def problem(self) -> EngineError | None:
        """Why the server is gone, or None while it lives."""
        status = self._process.poll()
        if status is None:
            return None
        done = Finished(tuple(self._argv), status, "", self.log_tail(), 0.0)
        return problem_of(done, "serving", backend=self._backend) or EngineError("apr serve ended by itself")

    def log_tail(self, count: int = LOG_TAIL) -> str:
        """The last COUNT lines that the server wrote."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-count:])

    def close(self) -> None:
        """Kill, reap, remove the temporary folder. Safe to call twice."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_ready(port: int) -> bool:
    """HTTP 200 and a `status` of "ok" (0.72.3) or "healthy" (older)."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            body = json.loads(answer.read(1 << 16))
        except (OSError, ValueError, http.client.HTTPException):
            return False
    return answer.status == 200 and isinstance(body, dict) and body.get("status") in READY_STATES


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
