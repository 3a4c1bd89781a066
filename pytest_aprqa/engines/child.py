"""The child's side: reads commands from one pipe, writes answers to another; stdout and stderr stay free for noise."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from pytest_aprqa.engines.allocator import give_free_memory_back, give_large_blocks_back
from pytest_aprqa.engines.death import die, is_death
from pytest_aprqa.engines.errors import EngineCrashed, EngineUnavailable
from pytest_aprqa.engines.shared_arrays import ArrayWriter

BUILT_IN = {
    "torch": "pytest_aprqa.engines.torch_engine:TorchEngine",
    "apr": "pytest_aprqa.engines.apr_engine:AprEngine",
    "llama": "pytest_aprqa.engines.llama_engine:LlamaEngine",
    "url": "pytest_aprqa.engines.url_engine:UrlEngine",
}
PARENT_POLL_S = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Answers:
    """Writes JSON lines to the parent."""

    def __init__(self, descriptor: int, memory: int | None = None) -> None:
        self.arrays = ArrayWriter(memory)  # in memory that is open in the parent too
        self._stream = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()
        self._last_progress = 0.0
        self.call: int | None = None  # the call that is being answered

    def send(self, **message: Any) -> None:
        """One answer to the present call."""
        with self._lock:
            data = json.dumps(message | {"call": self.call}).encode() + b"\n"
            while data:
                data = data[self._stream.write(data) :]

    def progress(self, what: str, done: int, total: int) -> None:
        """A progress event, at most ten a second."""
        now = time.monotonic()
        if now - self._last_progress >= 0.1 or done == total:
            self._last_progress = now
            self.send(kind="progress", what=what, done=done, total=total)


def run(arguments: Sequence[str]) -> NoReturn:
    """All that this process does: obey until the parent closes the pipe or dies."""
    try:
        with contextlib.suppress(BrokenPipeError):
            _main(_parsed(arguments))
    except BaseException as error:
        die(error)
    sys.stderr.flush()
    os._exit(0)  # threads of the server and of torch are not waited for


def _main(arguments: argparse.Namespace) -> None:
    for descriptor in (arguments.commands, arguments.answers, arguments.memory):
        if descriptor is None:
            continue
        os.set_inheritable(descriptor, False)  # a process that the engine starts must not keep the parent waiting
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, which ends this process
    _limit_memory(arguments.memory_limit)
    give_large_blocks_back()
    if arguments.die_with_parent:
        die_with_parent()
    threading.Thread(target=_watch_parent, args=(arguments.parent,), daemon=True).start()
    answers = Answers(arguments.answers, arguments.memory)
    engine = _make_engine(arguments.engine, arguments.threads)
    commands = os.fdopen(arguments.commands, "rb")
    server: Any = None
    for line in commands:
        command = _command(line)
        if command is None:
            continue
        answers.call = command["call"]
        answers.arrays.begin()
        try:
            if hasattr(engine, "serve") and command["command"] in ("serve", "served"):
                _serve_itself(engine, command, answers)
            elif command["command"] == "served":
                answers.send(kind="answer")  # the server is a thread of this process: it lives
            elif command["command"] == "serve":
                from pytest_aprqa.engines.server import ServerThread

                server = server or ServerThread(engine, command.get("port"))
                answers.send(kind="answer", url=server.url)
            elif server is not None:
                with server.lock:
                    _obey(engine, command, answers)
            else:
                _obey(engine, command, answers)
        except EngineCrashed as crash:  # of a program that the engine runs
            fields = {"doing": crash.doing, "exit_code": crash.exit_code, "stderr_tail": crash.stderr_tail}
            answers.send(kind="error", message=_one_line(crash), crashed=fields)
        except Exception as error:  # whatever an engine raises is one message to the parent
            if is_death(error):
                raise
            unavailable = isinstance(error, EngineUnavailable)
            answers.send(kind="error", message=_one_line(error), unavailable=unavailable)
    engine.close()


def _command(line: bytes) -> dict[str, Any] | None:
    """A command, or None for an empty line and for one that the parent was interrupted in writing."""
    if not line.strip():
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        print(f"command left out, it is incomplete: {line[:80]!r}", file=sys.stderr)
        return None


def _serve_itself(engine: Any, command: dict[str, Any], answers: Answers) -> None:
    """Of an engine that brings its own server: its URL, or why it is gone."""
    if command["command"] == "serve":
        answers.send(kind="answer", url=engine.serve(command.get("port")))
        return
    problem = engine.server_problem()
    if problem is not None:
        raise problem
    answers.send(kind="answer")


def _obey(engine: Any, command: dict[str, Any], answers: Answers) -> None:
    name = command["command"]
    if name == "ready":
        answers.send(kind="answer")
    elif name == "load":
        from pytest_aprqa.models.artifact import Artifact

        description = engine.load(Artifact.from_json(command["artifact"]), answers.progress)
        give_free_memory_back()
        answers.send(kind="answer", description=asdict(description))
    elif name == "generate":
        from pytest_aprqa.engines.protocol import GenerationRequest

        requests = [GenerationRequest(**fields) for fields in command["requests"]]
        results = _generate(engine, requests, answers.progress)
        answers.send(kind="answer", results=[asdict(result) for result in results])
    elif name == "logits":
        rows = _logits(engine, command["ids"], command.get("first", 0))
        answers.send(kind="answer", array=answers.arrays.packed(rows))
    elif name == "hidden_states":
        states = _ask(engine, "hidden_states", command["ids"])
        answers.send(kind="answer", arrays=[answers.arrays.packed(state) for state in states])
    elif name == "encode":
        answers.send(kind="answer", ids=[list(map(int, _ask(engine, "encode", text))) for text in command["texts"]])
    elif name == "describe":
        answers.send(kind="answer", description=asdict(engine.describe()))
    else:
        answers.send(kind="error", message=f"unknown command {name!r}")


def _generate(engine: Any, requests: list[Any], progress: Any) -> list[Any]:
    """Results in order; what the engine would not obey is refused, so that it is never left out of account."""
    from pytest_aprqa.engines.protocol import GenerationResult, unknown_to

    refused = {id(request): reason for request in requests if (reason := unknown_to(engine, request))}
    answered = iter(engine.generate([request for request in requests if id(request) not in refused], progress))
    return [
        GenerationResult(request.key, "", None, None, "error", 0.0, error=f"{refused[id(request)]}: not obeyed here")
        if id(request) in refused
        else next(answered)
        for request in requests
    ]


def _ask(engine: Any, name: str, argument: Any) -> Any:
    """One of the optional methods of an engine. EngineUnavailable where it has none."""
    method = getattr(engine, name, None)
    if method is None:
        raise EngineUnavailable(f"{name}: the engine {engine.describe().name} has no such thing")
    return method(argument)


def _logits(engine: Any, ids: list[int], first: int) -> Any:
    """Rows from position `first` on, to be read at once. An engine that does not know of `first` computes all."""
    import inspect

    known = inspect.signature(engine.logits).parameters
    options: dict[str, Any] = {"lasting": False} if "lasting" in known else {}
    if first and "first" not in known:
        return engine.logits(ids, **options)[first:]
    return engine.logits(ids, **(options | {"first": first} if first else options))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if type(error).__module__.startswith("pytest_aprqa."):
        return text[:2000]
    return f"{type(error).__name__}: {text}"[:2000]


def _make_engine(name: str, threads: int | None) -> Any:
    """An engine by its short name or `module:Class`, with the options that follow a question mark."""
    module, attribute = location(name)
    options = dict(parse_qsl(name.partition("?")[2], keep_blank_values=True))
    return getattr(importlib.import_module(module), attribute)(threads=threads, **options)


def location(name: str) -> tuple[str, str]:
    """(module, class) of an engine by its short name or `module:Class`, options left out."""
    name = name.partition("?")[0]
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    return module, attribute


def _limit_memory(limit: int | None) -> None:
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, even while native code keeps every thread from running."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_parent(parent: int) -> None:
    """No orphan survives a killed parent, on other systems than Linux too; also ends one whose parent was faster."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--commands", type=int, required=True)
    parser.add_argument("--answers", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--memory-limit", type=int)
    parser.add_argument("--die-with-parent", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(sys.argv[1:])
