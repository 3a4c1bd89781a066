"""Engines that do what real ones do on a bad day; the child imports them by dotted name. No torch in here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
from pytest_aprqa.models.artifact import Artifact

GUILTY = "guilty"


def result_of(request: GenerationRequest, text: str = "fine") -> GenerationResult:
    return GenerationResult(request.key, text, [1, 2], [3], "stop", 0.001, 0.001)


class Behaves:
    """Answers "fine" to everything; the others change one thing each."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or 1

    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        progress("loading", 1, 2)
        progress("loading", 2, 2)
        return self.describe()

    def describe(self) -> EngineDescription:
        return EngineDescription("behaves", "1", "cpu", "float32", self.threads, {"architecture": "behaves"})

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Any, on_token: Any = None
    ) -> list[GenerationResult]:
        results = []
        for number, request in enumerate(requests, 1):
            if self.is_guilty(request):
                self.misbehave()
            results.append(self.answer(request))
            progress("prompts", number, len(requests))
        return results

    def is_guilty(self, request: GenerationRequest) -> bool:
        return request.prompt == GUILTY

    def misbehave(self) -> None:
        """What a guilty prompt brings about."""

    def answer(self, request: GenerationRequest) -> GenerationResult:
        return result_of(request)

    def logits(self, ids: Sequence[int]) -> Any:
        import numpy

        return numpy.arange(len(ids) * 4, dtype=numpy.float32).reshape(len(ids), 4)

    def close(self) -> None:
        """Nothing to free."""


class Segfaults(Behaves):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)


class Aborts(Behaves):
    def misbehave(self) -> None:
        os.abort()


class IsKilled(Behaves):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


class Exits(Behaves):
    def misbehave(self) -> None:
        sys.exit(3)


class Panics(Behaves):
    """As pyo3: not an `Exception`."""

    def misbehave(self) -> None:
        raise type("PanicException", (BaseException,), {})("index out of bounds: the len is 3")


class TokenizerPanics(Behaves):
    def misbehave(self) -> None:
        from pathlib import Path

        from pytest_aprqa.models.errors import TokenizerPanic

        raise TokenizerPanic(Path("tokenizer.json"), "tokenizer", "cannot encode")


class Hangs(Behaves):
    def misbehave(self) -> None:
        time.sleep(600)


class HangsInLoad(Behaves):
    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        time.sleep(600)
        raise AssertionError


class GeneratesForEver(Behaves):
    """Progress all the time, an answer never."""

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Any, on_token: Any = None
    ) -> list[GenerationResult]:
        step = 0
        while True:
            step += 1
            progress("tokens", step, step)
            time.sleep(0.002)


class StartsAProcess(Behaves):
    """Leaves a process of its own behind that holds standard error open, then hangs; its pid goes to stderr."""

    def misbehave(self) -> None:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"sleeper {sleeper.pid}", file=sys.stderr, flush=True)
        time.sleep(600)


class ForksAndDies(Behaves):
    """A copy of the child keeps the pipes open after the child itself is dead."""

    def misbehave(self) -> None:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        os._exit(7)


class Deadlocks(Behaves):
    """Two threads, each of which waits for the lock that the other holds."""

    def misbehave(self) -> None:
        import threading

        one, other, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

        def take(first: threading.Lock, second: threading.Lock) -> None:
            with first:
                both.wait()
                with second:
                    raise AssertionError("unreachable")

        threading.Thread(target=take, args=(one, other), daemon=True).start()
        take(other, one)


class EatsMemoryUnderALimit(Behaves):
    """Limits its own address space, as `--memory-limit` of the child does, then fills it."""

    def misbehave(self) -> None:
        import resource
        from pathlib import Path

        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        self.hoard = [bytearray(16 << 20) for _ in range(1000)]


class EatsMemory(Behaves):
    def misbehave(self) -> None:
        self.hoard = [bytearray(64 << 20) for _ in range(1000)]


class TalksALot(Behaves):
    """Megabytes to both streams, not all of it text, before a good answer; or before a death."""

    def answer(self, request: GenerationRequest) -> GenerationResult:
        for number in range(20_000):
            print(f"out {number} " + "x" * 100)
        for number in range(20_000):
            print(f"err {number} " + "x" * 100, file=sys.stderr)
        sys.stderr.buffer.write(b"no line break " + b"y" * (1 << 20) + b"\nbad bytes \xff\xfe\x80\n")
        sys.stderr.flush()
        if request.prompt == "die":
            os._exit(9)
        return result_of(request)


class Raises(Behaves):
    def misbehave(self) -> None:
        raise KeyError("first line\nsecond line\n\tthird")


class RefusesToLoad(Behaves):
    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        from pytest_aprqa.engines.errors import EngineLoadError

        raise EngineLoadError("tensor x is missing")


class LoadsOnce(Segfaults):
    """Loads the first time only: a file beside the artifact remembers."""

    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        marker = artifact.path.with_suffix(".loaded")
        if marker.exists():
            raise RuntimeError("the file is gone")
        marker.touch()
        return super().load(artifact, progress)


class HangsOnReload(Segfaults):
    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        marker = artifact.path.with_suffix(".loaded")
        if marker.exists():
            time.sleep(600)
        marker.touch()
        return super().load(artifact, progress)


class AnswersHugely(Behaves):
    def answer(self, request: GenerationRequest) -> GenerationResult:
        return result_of(request, "ü€" * (8 << 20))

    def logits(self, ids: Sequence[int]) -> Any:
        import numpy

        return numpy.full((len(ids), 1 << 20), 0.5, dtype=numpy.float32)


class DoesNotStart(Behaves):
    def __init__(self, threads: int | None = None) -> None:
        raise ImportError("no library libwrong.so")


class ServesSlowly(Behaves):
    """A tenth of a second per token; stderr says how a generation ended."""

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Any, on_token: Any = None
    ) -> list[GenerationResult]:
        (request,) = requests
        ids = []
        try:
            for number in range(request.max_new_tokens):
                time.sleep(0.1)
                progress("tokens", number, request.max_new_tokens)
                ids.append(number)
                if on_token is not None:
                    on_token("a", [number])
        finally:
            print(f"{request.prompt} ended after {len(ids)} tokens", file=sys.stderr, flush=True)
        return [GenerationResult(request.key, "a" * len(ids), [1], ids, "length", 0.1)]


class OutOfMemoryError(RuntimeError):
    """Named as torch names it, with its words."""


class GpuIsFull(Behaves):
    def misbehave(self) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1.00 GiB free.")
