"""Judges of the `apr` tools on recorded outputs of the release: what it says in its output counts, not its status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.tools import command
from pytest_aprqa.engines.apr_tool import Given, judged
from pytest_aprqa.engines.apr_tools import TOOLS
from pytest_aprqa.engines.process import Finished

HERE = Path(__file__)
FOLDER = HERE.parents[1] / "data" / "apr"
FILES = (FOLDER / "recorded.jsonl", FOLDER / "recorded-rosetta.jsonl")
LINES = [line for file in FILES for line in file.read_text(encoding="utf-8").splitlines()]
RECORDED: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, LINES)}
BY_NAME = {tool.name: tool for tool in TOOLS}


def verdict(tool: str, recording: str, **changes: Any) -> tuple[bool | None, str]:
    entry = RECORDED[recording] | changes
    done = Finished(("apr", tool), entry["exit"], entry["stdout"], entry["stderr"], 0.1)
    return judged(BY_NAME[tool], done, Given(Path("model.apr"), (), None, Path("none")))


@pytest.mark.parametrize(
    ("tool", "recording"),
    [
        ("inspect", "inspect_mini-llama_apr"), ("inspect", "inspect_mini-qwen2_gguf"),
        ("inspect-verified", "inspect_mini-llama_apr"), ("validate", "validate_mini-llama_apr"),
        ("validate", "validate_mini-qwen2_safetensors"), ("check", "check_mini-qwen2_gguf"),
        ("bench", "bench_mini-qwen2_safetensors"), ("rosetta-inspect", "rosetta_inspect_mini-qwen2_gguf"),
        ("rosetta-validate-stats", "rosetta_validate_stats_json"), ("rosetta-verify", "rosetta_verify_mini-qwen2_apr"),
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
        ("profile-ci", "profile_ci_mini-llama_apr", "token id 15043 is outside the vocabulary"),
        ("qa", "qa_mini-qwen2_safetensors", "exit code 101"),
        ("qa", "qa_mini-llama_apr", "Failed gates: golden_output"),
        ("rosetta-fingerprint", "rosetta_fingerprint_mini-llama_apr", "of all 21 tensors are 0: nothing was computed"),
        ("rosetta-verify", "rosetta_verify_mini-llama_apr", "exit code 5"),
        ("rosetta-convert", "rosetta_convert_json", "no file converted.gguf was written"),
        ("rosetta-validate-stats-control", "rosetta_validate_stats_json", "passes as the same model"),
        ("rosetta-diff-tensors", "rosetta_diff_tensors_mini-llama", "12 tensors have transposed dimensions"),
        ("rosetta-compare-inference", "rosetta_compare_inference_mini-qwen2", "Failed to run realizar"),
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
            assert verdict(name, "check_mini-llama_apr", stdout="")[0] is False, name


@pytest.mark.parametrize(
    ("tool", "stdout", "words"),
    [
        ("qa", {"passed": True, "gates": [{"name": "golden", "skipped": True}]}, "none of 1 gates ran"),
        ("qa", {"gates": [{"name": "golden", "passed": False}]}, "1 of 1 gates that ran failed: golden"),
        ("rosetta-inspect", {"format": "APR", "tensor_count": 0}, "tensor_count: found 0"),
        ("rosetta-verify", {"is_equivalent": False, "failed_tensors": 2}, "failed_tensors: 2"),
        ("rosetta-validate-stats", {"passed": True, "total_tensors": 0}, "total_tensors: found 0"),
        ("rosetta-validate-stats", {"passed": False, "anomalies": 3, "total_tensors": 9}, "anomalies: 3"),
        ("rosetta-diff-tensors", {"missing_in_a": 0, "missing_in_b": 1, "layout_mismatches": 0}, "missing_in_b: 1"),
        ("rosetta-compare-inference", {"passed": True, "mismatches": 0, "total_tokens": 0}, "total_tokens: found 0"),
        ("rosetta-compare-inference", {"passed": False, "mismatches": 4, "total_tokens": 8}, "mismatches: 4"),
        ("rosetta-fingerprint", {"fingerprints": []}, "no tensor has a fingerprint"),
        ("rosetta-convert", {"path": "APR"}, "no file converted.gguf was written"),
    ],
)  # fmt: skip
def test_what_a_tool_says_with_exit_0_is_judged(tool: str, stdout: dict[str, Any], words: str) -> None:
    passed, reason = verdict(tool, "check_mini-llama_apr", stdout=json.dumps(stdout))
    assert passed is False
    assert words in reason


def test_a_conversion_that_quantises_unasked_is_named(tmp_path: Path, random_qwen2_folder: Path) -> None:
    from pytest_aprqa.lifecycle.derive import derive

    for dtype, passed in (("f32", True), ("f16", True), ("q8_0", False)):
        target = derive(random_qwen2_folder, "gguf", cache=tmp_path, dtype=dtype).path
        given = Given(derive(random_qwen2_folder, "apr", cache=tmp_path, dtype="f32").path, (), None, tmp_path / dtype)
        given.folder.mkdir()
        (given.folder / "converted.gguf").write_bytes(target.read_bytes())
        verdict, reason = judged(BY_NAME["rosetta-convert"], Finished(("apr",), 0, "{}", "", 0.1), given)
        assert (verdict, "quantised without being asked" in reason) == (passed, not passed), reason


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
    # The assertion that must fail does; without a readable file and its source, some tools have nothing to work on.
    skipped = sum(tool.needs_source for tool in TOOLS) + 1
    assert f"Total: 1 passed, {len(TOOLS) - skipped - 1} failed" in shown.output
    entries = json.loads((tmp_path / "out" / "tool_tests.json").read_text(encoding="utf-8"))
    assert [entry["tool"] for entry in entries] == list(BY_NAME)
    assert {"tool", "passed", "exit_code", "duration_ms", "gate_id", "stderr"} <= set(entries[0])
    absent = CliRunner().invoke(command, [str(model), "--apr-binary", "/no/such/apr"])
    assert absent.exit_code == 2
    assert "no such program" in absent.output
