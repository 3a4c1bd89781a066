"""The parent's side of an engine: starts the child, speaks to it, enforces time limits, survives its death."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_aprqa.engines.errors import (
    EngineCrashed,
    EngineError,
    EngineLoadError,
    EngineTimeout,
    EngineUnavailable,
)
from pytest_aprqa.engines.forked_process import ForkedProcess, can_be_forked, end_all_servers, fork_server
from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
from pytest_aprqa.engines.shared_arrays import ArrayReader, open_memory

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact

STDERR_LINES = 200  # kept of what the child writes
STDERR_LINE_LENGTH = 2000
# Importing torch took 111 s beside ten busy processes on two cores. No model is loaded yet: a limit that a busy machine
# reaches would be held against a model that nobody has looked at.
START_LIMIT_S = 600.0
GRACE_S = 2.0
POLL_S = 1.0  # how often a silent child is asked whether it still lives
PIPE_PIECE = 4096  # bytes that a pipe reported as writable takes without blocking (PIPE_BUF)
_LIVING: set[EngineHost] = set()


class EngineHost:
    """One child process with one engine. Not thread-safe. `on_progress(what, done, total)` is called while waiting."""

    def __init__(
        self,
        engine: str,
        *,
        memory_limit: int | None = None,
        threads: int | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._engine = engine
        self._memory_limit = memory_limit
        self._threads = threads
        self.on_progress = on_progress
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._to_child: Any = None
        self._from_child: int | None = None
        self._memory: int | None = None  # that the child writes arrays to
        self._arrays = ArrayReader(None)
        self._buffer = bytearray()
        self._calls = 0
        self._interrupted = False  # the answer of an abandoned call may still come
        self._folder: str | None = None  # for temporary files of the child, however it ends
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._stderr_reader: threading.Thread | None = None

    @property
    def engine(self) -> str:
        """The name that it was made with: what runs in the child, whatever that calls itself."""
        return self._engine

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the child in its own session. Does nothing if it is alive."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        command_read, command_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self._memory = open_memory()
        self._arrays = ArrayReader(self._memory)
        self._folder = tempfile.mkdtemp(prefix="aprqa-engine-")
        self._to_child = os.fdopen(command_write, "wb", buffering=0)
        self._from_child = answer_read
        self._buffer = bytearray()
        self._interrupted = False
        try:
            launch = self._fork if can_be_forked(self._engine) else self._launch
            self._process = launch(command_read, answer_write)
        except OSError as error:
            self.close()
            raise EngineError(f"the engine's process cannot be started: {error}") from None
        finally:
            os.close(command_read)
            os.close(answer_write)
        self._stderr.clear()
        self._stderr_reader = threading.Thread(target=self._keep_stderr, args=(self._process.stderr,), daemon=True)
        self._stderr_reader.start()
        _LIVING.add(self)

    def _arguments(self) -> list[str]:
        arguments = ["--engine", self._engine]
        if self._threads:
            arguments += ["--threads", str(self._threads)]
        if self._memory_limit:
            arguments += ["--memory-limit", str(self._memory_limit)]
        return arguments

    def _launch(self, commands: int, answers: int) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "pytest_aprqa.engines.child", *self._arguments()]
        arguments += ["--commands", str(commands), "--answers", str(answers), "--parent", str(os.getpid())]
        if self._memory is not None:
            arguments += ["--memory", str(self._memory)]
        if threading.current_thread() is threading.main_thread():
            # The kernel ends the child with the thread that started it: only the main thread lives as long as we do.
            arguments.append("--die-with-parent")
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(commands, answers, *([] if self._memory is None else [self._memory])),
            start_new_session=True,
            env=self._environment(),
        )

    def _fork(self, commands: int, answers: int) -> ForkedProcess:
        environment = self._environment()
        server = fork_server(self._engine, environment)
        return server.fork(self._arguments(), environment, commands, answers, self._memory)

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        environment |= {
            "TMPDIR": str(self._folder),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONFAULTHANDLER": "1",
        }
        # Threads that spin while they wait (GOMP_SPINCOUNT=50000) make decoding 1.4 times as fast on two idle cores,
        # and two runs beside each other 2.3 times as slow: a user with idle cores may set it.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Attention has another shape at each step, and each shape its own compiled product: kept, they are tens of MiB.
        environment.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        if self._threads:
            environment["OMP_NUM_THREADS"] = str(self._threads)
        return environment

    def _keep_stderr(self, stream: Any) -> None:
        for line in iter(lambda: stream.readline(STDERR_LINE_LENGTH), b""):
            self._stderr.append(line.decode("utf-8", errors="replace").rstrip("\n"))
        stream.close()

    @property
    def stderr_tail(self) -> str:
        """The last lines that the child wrote to standard error."""
        return "\n".join(self._stderr)

    @property
    def pid(self) -> int | None:
        """Process id of the child, None when it was never started."""
        return self._process.pid if self._process is not None else None

    @property
    def folder(self) -> str | None:
        """For temporary files of the child and of all that it starts, which inherit it as TMPDIR."""
        return self._folder

    def restart(self) -> None:
        """End what is left of the child and start a new one, without a model."""
        self.close()
        self.start()

    def death(self) -> EngineCrashed | None:
        """The crash of a child that is gone, or of the server that it started; None while they live."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        if self._process.poll() is not None:
            return self._crash("serving")
        try:
            self._call({"command": "served"}, GRACE_S, "looking at its server")
        except EngineCrashed as crash:
            return crash
        except EngineError:
            return None
        return None

    def close(self) -> None:
        """Kill the child's process group, reap it, close pipes. Safe to call twice."""
        _LIVING.discard(self)
        process, self._process = self._process, None
        if self._to_child is not None:
            with contextlib.suppress(OSError):
                self._to_child.close()
            self._to_child = None
        if process is not None:
            _kill_group(process)
        if self._stderr_reader is not None:
            self._stderr_reader.join(timeout=GRACE_S)
            self._stderr_reader = None
        if self._from_child is not None:
            os.close(self._from_child)
            self._from_child = None
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
            self._arrays = ArrayReader(None)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> EngineHost:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- commands ------------------------------------------------------------------------------------------------------

    def load(self, artifact: Artifact, timeout_s: float) -> EngineDescription:
        """Load an artifact; time to start the child comes on top. EngineLoadError, EngineCrashed, EngineTimeout."""
        self.start()
        self._call({"command": "ready"}, START_LIMIT_S, "starting")
        answer = self._call({"command": "load", "artifact": artifact.to_json()}, timeout_s, "loading")
        return EngineDescription(**answer["description"])

    def generate(self, requests: Sequence[GenerationRequest], timeout_s: float) -> list[GenerationResult]:
        """Results in the order of the requests; one limit for the whole batch. Bad arguments reach no engine."""
        sound = [request for request in requests if request.problem is None]
        answered: Iterator[GenerationResult] = iter(())
        if sound:
            message = {"command": "generate", "requests": [asdict(request) for request in sound]}
            answer = self._call(message, timeout_s, f"generating for {len(sound)} prompts")
            answered = iter([GenerationResult.from_json(fields) for fields in answer["results"]])
        return [
            next(answered)
            if request.problem is None
            else GenerationResult(request.key, "", None, None, "error", 0.0, error=request.problem)
            for request in requests
        ]

    def logits(self, ids: Sequence[int], timeout_s: float, *, first: int = 0, lasting: bool = True) -> Any:
        """float32 array (len(ids) - first, vocabulary): rows of the positions from `first` on.

        Not `lasting`: valid until this engine is asked again, which saves a copy of what may be hundreds of megabytes.
        """
        if not 0 <= first < max(len(ids), 1):
            raise EngineError(f"logits from position {first} of {len(ids)}: limit 0 to {len(ids) - 1}")
        answer = self._call({"command": "logits", "ids": list(ids), "first": first}, timeout_s, "computing logits")
        return self._array(answer["array"], lasting=lasting)

    def hidden_states(self, ids: Sequence[int], timeout_s: float) -> list[Any]:
        """float32 arrays (len(ids), hidden): after the embedding, then after each layer. EngineUnavailable: none."""
        answer = self._call({"command": "hidden_states", "ids": list(ids)}, timeout_s, "computing hidden states")
        return [self._array(packed) for packed in answer["arrays"]]

    def encode(self, texts: Sequence[str], timeout_s: float) -> list[list[int]]:
        """Ids of each text by the engine's own tokenizer, as for a raw prompt. EngineUnavailable: it tells none."""
        answer = self._call({"command": "encode", "texts": list(texts)}, timeout_s, "encoding texts")
        return [list(ids) for ids in answer["ids"]]

    def serve(self, timeout_s: float, port: int | None = None) -> str:
        """Start the HTTP server over the loaded engine in the same child; its base URL."""
        answer = self._call({"command": "serve", "port": port}, timeout_s, "starting the server")
        return str(answer["url"])

    def _array(self, packed: dict[str, Any], *, lasting: bool = True) -> Any:
        try:
            return self._arrays.unpacked(packed, lasting=lasting)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"the engine's array cannot be read: {error}") from None

    def describe(self) -> EngineDescription:
        """The loaded engine."""
        answer = self._call({"command": "describe"}, 10.0, "describing itself")
        return EngineDescription(**answer["description"])

    def _call(self, message: dict[str, Any], timeout_s: float, doing: str) -> dict[str, Any]:
        if self._process is None or self._to_child is None:
            raise EngineError(f"the engine is not started: cannot begin {doing}")
        deadline = time.monotonic() + timeout_s
        self._calls += 1
        line = json.dumps(message | {"call": self._calls}).encode()
        try:
            # The line end in front closes a command that an interruption cut in two.
            self._write(b"\n" + line + b"\n", deadline, timeout_s, doing)
            answer = self._answer(deadline, timeout_s, doing)
        except EngineError:
            raise
        except BaseException:  # an alarm, Ctrl-C, a progress callback: the child goes on and answers later
            self._interrupted = True
            raise
        self._interrupted = False
        if answer["kind"] != "error":
            return answer
        if answer.get("unavailable"):
            raise EngineUnavailable(answer["message"])
        if answer.get("crashed"):
            raise EngineCrashed(**answer["crashed"])
        raise (EngineLoadError if message["command"] == "load" else EngineError)(answer["message"])

    def _answer(self, deadline: float, timeout_s: float, doing: str) -> dict[str, Any]:
        """The answer of this very call; what is left of calls that were interrupted is thrown away."""
        while True:
            line = self._read_line(deadline, timeout_s, doing)
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                if self._interrupted:  # an interruption while reading loses a piece
                    continue
                raise EngineError(f"the engine answered something else than JSON while {doing}: {line[:80]!r}")
            if answer.get("call") != self._calls:
                continue
            if answer["kind"] != "progress":
                return answer
            if self.on_progress is not None:
                self.on_progress(answer["what"], answer["done"], answer["total"])

    def _write(self, data: bytes, deadline: float, timeout_s: float, doing: str) -> None:
        """A child that hangs does not read: a long message must not block the parent beyond the limit."""
        descriptor = self._to_child.fileno()
        while data:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._timeout(timeout_s, doing)
            _, ready, _ = select.select([], [descriptor], [], left)
            if ready:
                try:
                    data = data[os.write(descriptor, data[:PIPE_PIECE]) :]
                except OSError:
                    raise self._crash(doing) from None

    def _read_line(self, deadline: float, timeout_s: float, doing: str) -> bytes:
        assert self._from_child is not None
        assert self._process is not None
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._timeout(timeout_s, doing)
            ready, _, _ = select.select([self._from_child], [], [], min(left, POLL_S))
            if not ready:
                if self._process.poll() is not None:  # dead, but a process of its own still holds the pipe
                    raise self._crash(doing)
                continue
            piece = os.read(self._from_child, 1 << 16)
            if not piece:
                raise self._crash(doing)
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _timeout(self, timeout_s: float, doing: str) -> EngineTimeout:
        tail = self.stderr_tail
        self.close()
        return EngineTimeout(doing, limit_ms=round(timeout_s * 1000), stderr_tail=tail)

    def _crash(self, doing: str) -> EngineCrashed:
        process = self._process
        code: int | None = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=GRACE_S)
        if self._stderr_reader is not None:
            self._stderr_reader.join(timeout=GRACE_S)
        tail = self.stderr_tail
        self.close()
        return EngineCrashed(doing, exit_code=code, stderr_tail=tail)


def _kill_group(process: subprocess.Popen[bytes] | ForkedProcess) -> None:
    if isinstance(process, ForkedProcess):
        process.kill()
        if not process.born:
            return  # nothing to wait for: it ends when it finds its pipes closed
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE_S)


def living_engines() -> list[int]:
    """Process ids of the children that this process started and did not end yet."""
    return [host.pid for host in _LIVING if host.pid is not None]


@atexit.register
def end_all_engines() -> None:
    """Kill and reap every child of this process. A fork of it has none."""
    for host in list(_LIVING):
        host.close()
    end_all_servers()


os.register_at_fork(after_in_child=_LIVING.clear)
