"""The tools of the `apr` program on one file: what each must print to pass; an exit status 0 alone passes nothing."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.apr_output import json_of, parse_text_run, speed_of
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.apr_rosetta_tools import QUALITY_TOOLS
from pytest_aprqa.engines.apr_server import AprServer
from pytest_aprqa.engines.apr_tool import LIMIT_S, STDERR_KEPT, Given, Tool, ToolResult, run_tool
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.process import Finished

Judge = Callable[[Finished, Given], str | None]
PROMPT = "What is 2+2?"
TOKENS = "8"
SLOWEST_TOKENS_PER_SECOND = 1.0
SLOWEST_P99_MS = 10_000
IMPOSSIBLE_TOKENS_PER_SECOND = 1_000_000


def run_tools(
    program: AprProgram,
    model: Path,
    *,
    no_gpu: bool,
    serve: bool,
    source: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Iterator[ToolResult]:
    """Each tool in turn, with its own process and time limit. SOURCE: the weights that the file was made of."""
    device = ("--no-gpu",) if no_gpu else ()
    for tool in TOOLS:
        progress(tool.name)
        with tempfile.TemporaryDirectory(prefix="aprqa-tool-") as folder:
            yield run_tool(program, tool, Given(model, device, source, Path(folder)))
    if serve:
        progress("serve-lifecycle")
        yield _serve(program, model, "cpu" if no_gpu or not program.cuda else "gpu")


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


def _inspect(done: Finished, given: Given) -> str | None:
    count = json_of(done.stdout).get("tensor_count")
    return None if isinstance(count, int) and count > 0 else f"tensor_count: found {count}, limit at least 1"


def _inspect_verified(done: Finished, given: Given) -> str | None:
    fields = json_of(done.stdout)
    metadata = fields.get("metadata") if isinstance(fields.get("metadata"), dict) else {}
    assert isinstance(metadata, dict)
    for names in (("num_heads",), ("num_kv_heads",), ("hidden_size",)):
        value = next((place.get(n) for place in (fields, metadata) for n in names if place.get(n)), None)
        if not isinstance(value, int) or value < 1:
            return f"{names[0]}: found {value}, a positive number is needed"
    return None


def _validate(done: Finished, given: Given) -> str | None:
    fields = json_of(done.stdout)
    checks = fields.get("checks")
    if isinstance(checks, list):
        failed = [c.get("name") for c in checks if isinstance(c, dict) and c.get("status") == "FAIL"]
        return f"failed: {', '.join(map(str, failed[:3]))}" if failed else (None if checks else "no check ran")
    failures, total = fields.get("failed_tensors"), fields.get("total_tensors")
    if not isinstance(total, int) or total < 1:
        return f"total_tensors: found {total}, limit at least 1"
    return None if failures == 0 else f"failed_tensors: found {failures}, limit 0"


def _check(done: Finished, given: Given) -> str | None:
    fields = json_of(done.stdout)
    stages = [s for s in fields.get("stages") or [] if isinstance(s, dict)]
    failed = [str(stage.get("name")) for stage in stages if stage.get("status") != "PASS"]
    if not stages:
        return "no stage ran"
    return f"stages that do not pass: {', '.join(failed[:3])}" if failed or not fields.get("all_passed", True) else None


def _profiled(done: Finished, given: Given) -> str | None:
    """Passed, with a speed, of tokens that the model has: the release times fixed ids, whatever the vocabulary."""
    outside = re.search(r"token_id (\d+) OOB", done.stderr)
    if outside is not None:
        return f"token id {outside[1]} is outside the vocabulary: what was timed is no token of this model"
    return _passed_with_speed(done, given)


def _passed_with_speed(done: Finished, given: Given) -> str | None:
    fields = json_of(done.stdout)
    if fields.get("passed") is not True:
        return f"passed: found {fields.get('passed')}"
    return _speed(done, given)


def _speed(done: Finished, given: Given) -> str | None:
    speed = speed_of(json_of(done.stdout))
    return None if speed is not None and speed > 0 else f"speed: found {speed}, a positive number is needed"


def _text(done: Finished, given: Given) -> str | None:
    return None if parse_text_run(done.stdout).strip() else "the answer is empty"


def _trace(level: str) -> Tool:
    def argv(given: Given) -> list[str]:
        argv = ["run", str(given.model), "-p", PROMPT, "--max-tokens", TOKENS, *given.device]
        return [*argv, "--trace", "--trace-level", level]

    return Tool(f"trace-{level}", f"F-TRACE_{level.upper()}-001", argv, _text)


def _profile_ci(name: str, gate: str, *assertion: str, must_fail: str = "") -> Tool:
    def argv(given: Given) -> list[str]:
        return ["profile", str(given.model), "--ci", "--warmup", "1", "--measure", "2", "--json", *assertion]

    return Tool(name, gate, argv, _passed_with_speed if must_fail else _profiled, must_fail)


def _plain(*words: str, judge: Judge, name: str, gate: str, device: bool = False) -> Tool:
    def argv(given: Given) -> list[str]:
        return [words[0], str(given.model), *words[1:], *(given.device if device else ())]

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
        must_fail="a speed that no machine reaches was asserted",
    ),
    _profile_ci("profile-ci-p99", "F-PROFILE-008", "--assert-p99", str(SLOWEST_P99_MS)),
    *QUALITY_TOOLS,
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
