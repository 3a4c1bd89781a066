"""The tools of the `apr` program on one file: what each must print to pass; an exit status 0 alone passes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.apr_exit_codes import ABSENT_FEATURE, problem_of, tail
from pytest_aprqa.engines.apr_output import json_of, parse_text_run, speed_of
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.apr_server import AprServer
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.process import Finished, run_program

PROMPT = "What is 2+2?"
TOKENS = "8"
LIMIT_S = 120.0
SLOWEST_TOKENS_PER_SECOND = 1.0
SLOWEST_P99_MS = 10_000
IMPOSSIBLE_TOKENS_PER_SECOND = 1_000_000
TIMED_OUT, NOT_AVAILABLE = -1, -2
STDERR_KEPT = 2000  # characters


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
    """`argv` after the program, `judge` gives the reason why an output does not pass, or None.

    `must_fail`: the tool passes when the program refuses, whatever its status.
    """

    name: str
    gate_id: str
    argv: Callable[[str, Sequence[str]], list[str]]
    judge: Callable[[str], str | None]
    must_fail: bool = False


def run_tools(
    program: AprProgram, model: Path, *, no_gpu: bool, serve: bool, progress: Callable[[str], None] = lambda name: None
) -> Iterator[ToolResult]:
    """Each tool in turn, with its own process and time limit."""
    device = ["--no-gpu"] if no_gpu else []
    for tool in TOOLS:
        progress(tool.name)
        yield _run(program, tool, str(model), device)
    if serve:
        progress("serve-lifecycle")
        yield _serve(program, model, "cpu" if no_gpu or not program.cuda else "gpu")


def _run(program: AprProgram, tool: Tool, model: str, device: Sequence[str]) -> ToolResult:
    started = time.monotonic()
    try:
        done = run_program([str(program.path), *tool.argv(model, device)], limit_s=LIMIT_S)
    except TimeoutError:
        spent = round((time.monotonic() - started) * 1000)
        return ToolResult(tool.name, tool.gate_id, False, TIMED_OUT, spent, f"no end within {LIMIT_S:.0f} s", "")
    passed, reason = _judged(tool, done)
    code = NOT_AVAILABLE if passed is None else done.status
    return ToolResult(
        tool.name, tool.gate_id, passed, code, round(done.seconds * 1000), reason, tail(done)[-STDERR_KEPT:]
    )


def _judged(tool: Tool, done: Finished) -> tuple[bool | None, str]:
    if done.status in ABSENT_FEATURE:
        return None, done.last_words
    problem = problem_of(done, tool.name)
    try:
        reason = tool.judge(done.stdout)
    except EngineError as error:
        reason = str(error)
    if tool.must_fail:
        crashed = done.status < 0 or done.status == 101
        refused = (problem is not None or reason is not None) and not crashed
        return refused, "" if refused else f"{tool.name}: the program crashed or was content"
    return problem is None and reason is None, str(problem or reason or "")


def _serve(program: AprProgram, model: Path, backend: str) -> ToolResult:
    """Start, ask one chat completion, stop; the port must be free again."""
    import http.client
    import json

    started, code, reason, log = time.monotonic(), 0, "", ""
    server: AprServer | None = None
    try:
        server = AprServer(program, model, backend)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
        connection.request("GET", "/v1/models")
        listed = json.loads(connection.getresponse().read(1 << 20)).get("data") or [{}]
        body = {"model": listed[0].get("id", "default"), "max_tokens": 8}
        body["messages"] = [{"role": "user", "content": PROMPT}]
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body | {"temperature": 0}), headers)
        answer = connection.getresponse()
        data = answer.read(1 << 20)
        connection.close()
        text = json.loads(data)["choices"][0]["message"]["content"] if answer.status == 200 else None
        if not isinstance(text, str) or not text.strip():
            code, reason = 1, f"chat completion: status {answer.status}: {data[:120]!r}"
        server.close()
        if not reason and _listens(server.port):
            code, reason = 1, f"port {server.port} still answers after the server was ended"
    except (EngineError, OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        code, reason = 1, " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        if server is not None:
            log = server.log_tail()
            server.close()
    spent = round((time.monotonic() - started) * 1000)
    return ToolResult("serve-lifecycle", "F-INTEG-003", not reason, code, spent, reason, log[-STDERR_KEPT:])


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- what each tool must print -----------------------------------------------------------------------------------------


def _inspect(stdout: str) -> str | None:
    count = json_of(stdout).get("tensor_count")
    return None if isinstance(count, int) and count > 0 else f"tensor_count: found {count}, limit at least 1"


def _inspect_verified(stdout: str) -> str | None:
    fields = json_of(stdout)
    metadata = fields.get("metadata") if isinstance(fields.get("metadata"), dict) else {}
    assert isinstance(metadata, dict)
    for names in (("num_heads",), ("num_kv_heads",), ("hidden_size",)):
        value = next((place.get(n) for place in (fields, metadata) for n in names if place.get(n)), None)
        if not isinstance(value, int) or value < 1:
            return f"{names[0]}: found {value}, a positive number is needed"
    return None


def _validate(stdout: str) -> str | None:
    fields = json_of(stdout)
    checks = fields.get("checks")
    if isinstance(checks, list):
        failed = [c.get("name") for c in checks if isinstance(c, dict) and c.get("status") == "FAIL"]
        return f"failed: {', '.join(map(str, failed[:3]))}" if failed else (None if checks else "no check ran")
    failures, total = fields.get("failed_tensors"), fields.get("total_tensors")
    if not isinstance(total, int) or total < 1:
        return f"total_tensors: found {total}, limit at least 1"
    return None if failures == 0 else f"failed_tensors: found {failures}, limit 0"


def _check(stdout: str) -> str | None:
    fields = json_of(stdout)
    stages = [s for s in fields.get("stages") or [] if isinstance(s, dict)]
    failed = [str(stage.get("name")) for stage in stages if stage.get("status") != "PASS"]
    if not stages:
        return "no stage ran"
    return f"stages that do not pass: {', '.join(failed[:3])}" if failed or not fields.get("all_passed", True) else None


def _passed_with_speed(stdout: str) -> str | None:
    fields = json_of(stdout)
    if fields.get("passed") is not True:
        return f"passed: found {fields.get('passed')}"
    return _speed(stdout)


def _speed(stdout: str) -> str | None:
    speed = speed_of(json_of(stdout))
    return None if speed is not None and speed > 0 else f"speed: found {speed}, a positive number is needed"


def _text(stdout: str) -> str | None:
    return None if parse_text_run(stdout).strip() else "the answer is empty"


def _trace(level: str) -> Tool:
    def argv(model: str, device: Sequence[str]) -> list[str]:
        return ["run", model, "-p", PROMPT, "--max-tokens", TOKENS, *device, "--trace", "--trace-level", level]

    return Tool(f"trace-{level}", f"F-TRACE_{level.upper()}-001", argv, _text)


def _profile_ci(name: str, gate: str, *assertion: str, must_fail: bool = False) -> Tool:
    def argv(model: str, device: Sequence[str]) -> list[str]:
        return ["profile", model, "--ci", "--warmup", "1", "--measure", "2", "--json", *assertion]

    return Tool(name, gate, argv, _passed_with_speed, must_fail)


def _plain(*words: str, judge: Callable[[str], str | None], name: str, gate: str, device: bool = False) -> Tool:
    def argv(model: str, where: Sequence[str]) -> list[str]:
        return [words[0], model, *words[1:], *(where if device else ())]

    return Tool(name, gate, argv, judge)


TOOLS: tuple[Tool, ...] = (
    _plain("inspect", "--json", judge=_inspect, name="inspect", gate="F-INSPECT-001"),
    _plain("inspect", "--json", judge=_inspect_verified, name="inspect-verified", gate="F-INSPECT-META-001"),
    _plain("validate", "--json", judge=_validate, name="validate", gate="F-VALIDATE-001"),
    _plain("check", "--json", judge=_check, name="check", gate="F-CHECK-001", device=True),
    _plain(
        *("bench", "--warmup", "1", "--iterations", "2", "--json"),
        judge=_passed_with_speed, name="bench", gate="F-BENCH-001",
    ),
    *(_trace(level) for level in ("none", "basic", "layer", "payload")),
    _plain("profile", "--warmup", "1", "--measure", "2", "--json", judge=_speed, name="profile", gate="F-PROFILE-001"),
    _profile_ci("profile-ci", "F-PROFILE-006", "--assert-throughput", f"{SLOWEST_TOKENS_PER_SECOND:g}"),
    _profile_ci(
        "profile-ci-assertion", "F-PROFILE-007", "--assert-throughput", str(IMPOSSIBLE_TOKENS_PER_SECOND),
        must_fail=True,
    ),
    _profile_ci("profile-ci-p99", "F-PROFILE-008", "--assert-p99", str(SLOWEST_P99_MS)),
)  # fmt: skip


def as_entry(result: ToolResult) -> dict[str, Any]:
    """The entry of `tool_tests.json`."""
    return {
        "tool": result.tool,
        "passed": result.passed is True,
        "exit_code": result.exit_code,
        "duration_ms": result.duration_ms,
        "gate_id": result.gate_id,
        "stderr": result.stderr,
        "reason": result.reason,
    }
