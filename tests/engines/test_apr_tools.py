"""Judges of the `apr` tools on recorded outputs of the release: what it says in its output counts, not its status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.tools import command
from pytest_aprqa.engines.apr_tools import TOOLS, _judged
from pytest_aprqa.engines.process import Finished

HERE = Path(__file__)
LINES = (HERE.parents[1] / "data" / "apr" / "recorded.jsonl").read_text(encoding="utf-8").splitlines()
RECORDED: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, LINES)}
BY_NAME = {tool.name: tool for tool in TOOLS}


def verdict(tool: str, recording: str, **changes: Any) -> tuple[bool | None, str]:
    entry = RECORDED[recording] | changes
    return _judged(BY_NAME[tool], Finished(("apr", tool), entry["exit"], entry["stdout"], entry["stderr"], 0.1))


@pytest.mark.parametrize(
    ("tool", "recording"),
    [
        ("inspect", "inspect_mini-llama_apr"), ("inspect", "inspect_mini-qwen2_gguf"),
        ("inspect-verified", "inspect_mini-llama_apr"), ("validate", "validate_mini-llama_apr"),
        ("validate", "validate_mini-qwen2_safetensors"), ("check", "check_mini-qwen2_gguf"),
        ("bench", "bench_mini-qwen2_safetensors"), ("profile-ci", "profile_ci_mini-llama_gguf"),
        ("trace-payload", "run_trace_mini-llama_apr"), ("trace-none", "run_trace_mini-qwen2_safetensors"),
    ],
)  # fmt: skip
def test_good_recordings_pass(tool: str, recording: str) -> None:
    assert verdict(tool, recording) == (True, "")


@pytest.mark.parametrize(
    ("tool", "recording", "words"),
    [
        ("inspect", "bad_empty_inspect", "exit code 4"),
        ("validate", "bad_truncated-data_validate", "exit code 5"),
        ("profile-ci", "profile_ci_mini-llama_safetensors", "speed: found 0.0"),
        ("inspect-verified", "inspect_mini-llama_safetensors", "num_heads: found None"),
        ("bench", "qa_mini-qwen2_safetensors", "exit code 101"),
    ],
)
def test_bad_recordings_fail_with_their_reason(tool: str, recording: str, words: str) -> None:
    passed, reason = verdict(tool, recording)
    assert passed is False
    assert words in reason


def test_exit_status_0_over_failed_stages_or_nothing_is_a_failure() -> None:
    stdout = RECORDED["check_mini-llama_apr"]["stdout"]
    failing = stdout.replace('"PASS"', '"FAIL"', 1)
    assert verdict("check", "check_mini-llama_apr", stdout=failing)[1].startswith("stages that do not pass: Tokenizer")
    for name, tool in BY_NAME.items():
        if not tool.must_fail:
            assert verdict(name, "check_mini-llama_apr", stdout="")[0] is False


def test_damaged_file_that_the_release_validates_is_seen_in_its_list_of_checks() -> None:
    entry = RECORDED["bad_flipped-magic_validate"]
    assert verdict("validate", "bad_flipped-magic_validate", exit=0)[0] is False, entry["stdout"][:300]


def test_impossible_assertion_must_be_refused_but_not_by_a_crash() -> None:
    content = RECORDED["profile_ci_mini-llama_apr"]
    tool = "profile-ci-assertion"
    assert verdict(tool, "profile_ci_mini-llama_apr")[0] is False
    assert verdict(tool, "profile_ci_mini-llama_apr", exit=5)[0] is True
    refused = content["stdout"].replace('"passed": true', '"passed": false')
    assert verdict(tool, "profile_ci_mini-llama_apr", stdout=refused)[0] is True
    assert verdict(tool, "profile_ci_mini-llama_apr", exit=101)[0] is False


def test_feature_that_is_not_built_is_not_available() -> None:
    assert verdict("bench", "bench_mini-llama_apr", exit=9)[0] is None


def test_command_writes_every_tool_and_fails_with_it(tmp_path: Path) -> None:
    program = tmp_path / "apr"
    program.write_text(f"#!{sys.executable}\n" + HERE.with_name("fake_apr.py").read_text(encoding="utf-8"))
    program.chmod(0o755)
    model = tmp_path / "model.apr"
    model.touch()
    words = [str(model), "--no-gpu", "--apr-binary", str(program), "-o", str(tmp_path / "out")]
    shown = CliRunner().invoke(command, words)
    assert shown.exit_code == 1, shown.output
    assert f"Total: 1 passed, {len(TOOLS) - 1} failed" in shown.output  # the assertion that must fail does
    entries = json.loads((tmp_path / "out" / "tool_tests.json").read_text(encoding="utf-8"))
    assert [entry["tool"] for entry in entries] == list(BY_NAME)
    assert {"tool", "passed", "exit_code", "duration_ms", "gate_id", "stderr"} <= set(entries[0])
    absent = CliRunner().invoke(command, [str(model), "--apr-binary", "/no/such/apr"])
    assert absent.exit_code == 2
    assert "no such program" in absent.output
