"""One tool of the `apr` program: its arguments, what it must print, its result. Exit status 0 alone passes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.engines.apr_exit_codes import ABSENT_FEATURE, PANIC, problem_of, tail
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.process import Finished, run_program

LIMIT_S = 120.0
TIMED_OUT, NOT_AVAILABLE = -1, -2
STDERR_KEPT = 2000  # characters
NEEDS_SOURCE = "needs the model that the file was made of: name its folder with --against"


@dataclass(frozen=True, slots=True)
class Given:
    """What a tool works on: the file, device flags, the source's weights if they are known, an empty folder."""

    model: Path
    device: tuple[str, ...]
    source: Path | None
    folder: Path


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One tool. `passed` None: not available in this build. `reason` says why it did not pass, in one line."""

    tool: str
    gate_id: str
    passed: bool | None
    exit_code: int
    duration_ms: int
    reason: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Tool:
    """`argv` after the program; `judge` gives the reason why what it said or made does not pass, or None.

    `must_fail`: the tool passes when the program refuses, whatever its status; if it does not, the reason says what it
    is content with. `needs_source`: skipped without one.
    """

    name: str
    gate_id: str
    argv: Callable[[Given], list[str]]
    judge: Callable[[Finished, Given], str | None]
    must_fail: str = ""
    needs_source: bool = False


def gate_of(name: str) -> str:
    """The gate of a tool that no list names: F-{TOOL}-001."""
    return f"F-{name.upper().replace('-', '_')}-001"


def run_tool(program: AprProgram, tool: Tool, given: Given) -> ToolResult:
    """The tool in a process and with a time limit of its own, judged."""
    if tool.needs_source and given.source is None:
        return ToolResult(tool.name, tool.gate_id, None, NOT_AVAILABLE, 0, NEEDS_SOURCE, "")
    started = time.monotonic()
    try:
        argv = [str(program.path), *tool.argv(given)]
        done = run_program(argv, limit_s=LIMIT_S)
    except TimeoutError:
        spent = round((time.monotonic() - started) * 1000)
        return ToolResult(tool.name, tool.gate_id, False, TIMED_OUT, spent, f"no end within {LIMIT_S:.0f} s", "")
    except (OSError, ValueError) as error:  # what `argv` had to make cannot be made of this file
        return ToolResult(tool.name, tool.gate_id, None, NOT_AVAILABLE, 0, " ".join(str(error).split()), "")
    passed, reason = judged(tool, done, given)
    code = NOT_AVAILABLE if passed is None else done.status
    spent = round(done.seconds * 1000)
    return ToolResult(tool.name, tool.gate_id, passed, code, spent, reason, tail(done)[-STDERR_KEPT:])


def judged(tool: Tool, done: Finished, given: Given) -> tuple[bool | None, str]:
    """Whether the tool passes (None: this build does not have it), and why not."""
    if done.status in ABSENT_FEATURE:
        return None, done.last_words
    problem = problem_of(done, tool.name)
    try:
        reason = tool.judge(done, given)
    except (EngineError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
    if tool.must_fail:
        crashed = done.status < 0 or done.status == PANIC
        if crashed:
            return False, str(problem)
        refused = problem is not None or reason is not None
        return refused, "" if refused else f"exit 0: {tool.must_fail}"
    return problem is None and reason is None, str(problem or reason or "")
