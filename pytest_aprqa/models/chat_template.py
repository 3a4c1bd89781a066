"""Renders a chat template as transformers does, in a bounded process of its own: templates are other people's code."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError

LONGEST_TEMPLATE = 256 * 1024  # characters
LONGEST_OUTPUT = 4 << 20  # characters of a rendered conversation
LARGEST_MEMORY = 512 << 20  # bytes of address space of the rendering process
LONGEST_TIME_S = 20.0  # a conversation is rendered in milliseconds; twenty busy processes make that a second
REMEMBERED = 256  # rendered conversations kept
LONGEST_REMEMBERED = 64 * 1024  # characters of a kept conversation
MEND = "mend the template"


class TemplateStopped(ModelError):
    """A template exceeded its time or memory. It is not tried again in this process."""


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    bos_token: str | None = None,
    eos_token: str | None = None,
    add_generation_prompt: bool = True,
    path: Path | str = "chat template",
    seconds: float = LONGEST_TIME_S,
) -> str:
    """The conversation as one text, rendered exactly once.

    `seconds` bounds the wall time of one rendering. ModelError: the template is wrong, refuses, or renders too much;
    TemplateStopped: it exceeded its time or memory.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise ModelError(path, "chat_template", "is too long", found=len(template), limit=LONGEST_TEMPLATE)
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    variables = {
        "messages": list(messages),
        "tools": None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
        **{name: token for name, token in tokens.items() if token is not None},
    }
    return _RENDERER.render(template, variables, path, seconds)


class _Renderer:
    """One rendering process, started at first use and after every death; answers are remembered. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._stopped: dict[str, tuple[str, Any, Any]] = {}

    def render(self, template: str, variables: dict[str, Any], path: Path | str, seconds: float) -> str:
        key = json.dumps([template, variables])
        with self._lock:
            if (text := self._texts.get(key)) is not None:
                self._texts.move_to_end(key)
                return text
            if (reason := self._stopped.get(template)) is not None:
                raise _stopped(path, *reason)
            request = {"template": template, "variables": variables, "longest": LONGEST_OUTPUT, "seconds": seconds}
            answer = self._ask(json.dumps(request).encode() + b"\n", seconds)
            if answer.get("limit") in ("time", "memory"):
                reason = ("took too long", answer.get("found"), f"{seconds:g} s")
                if answer["limit"] == "memory":
                    reason = ("needs too much memory", None, f"{LARGEST_MEMORY >> 20} MiB")
                self._stopped[template] = reason
                raise _stopped(path, *reason)
            text = _text_of(answer, path)
            if len(text) <= LONGEST_REMEMBERED and "strftime_now" not in template:
                self._texts[key] = text
                while len(self._texts) > REMEMBERED:
                    self._texts.popitem(last=False)
            return text

    def _ask(self, request: bytes, seconds: float) -> dict[str, Any]:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = _read_line(process.stdout.fileno(), deadline)
        except (OSError, TimeoutError) as error:
            self.close()
            if isinstance(error, TimeoutError):
                return {"limit": "time"}
            line = b""
        if not line:  # died: killed for processor time, or the system ran out of memory
            self.close()
            return {"limit": "time"} if time.monotonic() >= deadline else {"limit": "memory"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the process belongs to the parent
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        program = str(Path(__file__).with_name("template_process.py"))
        # -P: the folder of the program holds modules whose names others use, too.
        arguments = [sys.executable, "-P", program, str(LARGEST_MEMORY)]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        return self._process

    def close(self) -> None:
        """End the rendering process, if this process started it."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _read_line(descriptor: int, deadline: float) -> bytes:
    """One line, b"" at the end of the stream. TimeoutError at the deadline (seconds of the monotonic clock)."""
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not pieces or not pieces[-1].endswith(b"\n"):
            wait = deadline - time.monotonic()
            if wait <= 0 or not selector.select(wait):
                raise TimeoutError
            pieces.append(os.read(descriptor, 1 << 16))
            if not pieces[-1]:
                return b""
    return b"".join(pieces)


def _stopped(path: Path | str, problem: str, found: Any, limit: Any) -> TemplateStopped:
    return TemplateStopped(path, "chat_template", problem, found=found, limit=limit, advice=MEND)


def _text_of(answer: dict[str, Any], path: Path | str) -> str:
    if answer.get("limit") == "output":
        raise ModelError(
            path,
            "chat_template",
            "renders too much text",
            found=f"> {answer['found'] - 1}",
            limit=LONGEST_OUTPUT,
            advice=MEND,
        )
    if "error" in answer:
        raise ModelError(path, "chat_template", f"cannot be rendered: {answer['error']}", advice=MEND)
    text: str = answer["text"]
    return text


_RENDERER = _Renderer()
atexit.register(_RENDERER.close)
