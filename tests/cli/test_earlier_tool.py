"""Every option and exit code of the earlier tool: as it was, or refused with the place of today, and documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_aprqa.cli import run
from pytest_aprqa.cli.main import call
from tests.cli.all_commands import COMMANDS
from tests.reporting.attempt_factory import attempt

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "earlier-tool.md").read_text(encoding="utf-8")
# The options that the earlier tool documents, for each command.
OPTIONS = {
    "certify": "--all --family --tier -o --output --dry-run --model-cache --apr-binary --auto-ticket --ticket-repo"
    " --no-integrity-check --fail-fast --oracle-enhance --failure-policy --workers --timeout --no-gpu --model",
    "tools": "--no-gpu -o --output --include-serve",
    "generate": "-c --count -f --format",
    "score": "-m --model",
    "report": "-o --output --formats -m --model",
    "list": "-s --size",
    "lock-playbooks": "-o --output",
    "tickets": "-r --repo --black-swans-only --min-occurrences --ticket-mode",
    "parity": "-m --model-family -c --corpus-path -p --prompt -t --tolerance --list --self-check",
    "export-csv": "-e --evidence-dir -o --output --append",
    "export-evidence": "-o --output-dir -m --model --family --size --playbook-name --tier",
    "bootstrap": "--hf-repo --tier -o --output --contracts-path --dry-run",
    "validate-contract": "--contract-path --format --critical-only",
}
OF_RUN = {
    "-o": ["--evidence-dir"], "--output": ["--evidence-dir"], "--failure-policy": ["--failure-policy"],
    "--fail-fast": ["--failure-policy", "fail-fast"], "--dry-run": ["--collect-only", "-q"], "--workers": ["-n"],
    "--model-path": ["--model-path"], "--timeout": ["--scenario-timeout"], "--no-gpu": ["--no-gpu"],
    "--no-integrity-check": ["--no-integrity-check"],
}  # fmt: skip


def rows(heading: str) -> list[list[str]]:
    part = PAGE[PAGE.index(f"## {heading}") :].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options.split()]
)
def test_an_option_of_the_earlier_tool_is_there(name, option):
    assert option in {flag for parameter in COMMANDS[name].params for flag in parameter.opts}


@pytest.mark.parametrize(("option", "given"), OF_RUN.items())
def test_an_option_of_run_is_the_plugins(option, given):
    assert run.arguments_for_pytest("p", (option,))[-len(given) :] == given


def test_every_option_that_is_refused_is_on_the_page_with_a_reason():
    refused = {option.strip("`") for _, option, here, _ in rows("Options") if here.startswith("refused")}
    assert refused == set(run._ELSEWHERE)
    assert all(all(row) for row in rows("Options"))
    for commands, options, here, _ in rows("Options"):
        for option in re.findall(r"`(--[a-z-]+)`", options):
            known = [
                f
                for c in re.findall(r"`([a-z-]+)`", commands)
                if c != "run"
                for p in COMMANDS[c].params
                for f in p.opts
            ]
            assert option in known or here.startswith(("refused", "not there")), option


def place_of(tmp_path, outcome):
    (tmp_path / "evidence.json").write_text(json.dumps([attempt(outcome).to_dict()] if outcome else []))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "outcome", "code"),
    [
        (["score"], "Corroborated", 0),
        (["score"], "Falsified", 0),  # a score was computed
        (["score"], None, 1),
        (["score", "--no-such"], "Corroborated", 2),
        (["tickets"], "Corroborated", 0),  # nothing to show
        (["tickets", "--ticket-mode", "none"], "Falsified", 2),
        (["report", "--formats", "pdf"], "Falsified", 2),
        (["export-evidence", "--tier", "none"], "Corroborated", 2),
    ],
)
def test_exit_codes_of_what_reads_evidence(tmp_path, capsys, arguments, outcome, code):
    assert call([*arguments, place_of(tmp_path, outcome)]) == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list"], 0),
        (["list", "--size", "tiny", "--family", "none of them"], 0),
        (["generate", "a/b", "--format", "xml"], 2),
        (["certify", "--all", "--tier", "none"], 2),
        (["certify", "--all", "--registry", "none.csv"], 1),
        (["lock-playbooks", "none"], 2),
        (["parity", "none", "--list"], 1),
        (["parity", "--corpus-path", "none", "--list"], 1),
        (["parity", "a", "b", "--corpus-path", "c"], 2),
        (["validate-contract", "none.gguf"], 1),
        (["tools", "none.gguf"], 2),
    ],
)
def test_exit_codes_of_the_others(tmp_path, monkeypatch, capsys, arguments, code):
    monkeypatch.chdir(tmp_path)
    assert call(arguments) == code


def test_list_has_its_header_and_each_size_its_name(capsys):
    assert call(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "=== Available Models ==="
    assert all(re.match(r"  [^ /]+/[^ /]+ \((Tiny|Small|Medium|Large|XLarge|Huge)\)", line) for line in lines[1:-1])
    assert len(lines) == 1 + 92 + 1


def test_what_generate_prints_is_data(capsys):
    assert call(["generate", "a/b", "-c", "3", "--format", "json"]) == 0
    shown = capsys.readouterr()
    scenarios = json.loads(shown.out)
    assert len(scenarios) == 54  # three for each of 3 modalities, 2 backends and 3 formats
    assert "Generated 54 scenarios for a/b" in shown.err


@pytest.mark.parametrize(
    "arguments", [["none"], ["tiny-qwen2-mvp", "--tier", "none"], ["p", "--failure-policy", "none"]]
)
def test_what_run_cannot_take_is_wrong_use(tmp_path, monkeypatch, capfd, arguments):
    monkeypatch.chdir(tmp_path)
    assert call(["run", *arguments]) == 2
    (row,) = [cells for cells in rows("Exit codes") if cells[0].startswith("wrong use of the command line")]
    assert row[-1] == "2"


def test_lines_and_files_that_are_not_made_are_on_the_page():
    lines = PAGE.split("## Lines")[1]
    for name in (
        "[ENVIRONMENT]",
        "[FAIL-FAST]",
        "check.json",
        "tensors.json",
        "trace.json",
        "`certify`",
        "=== Execution Results ===",
    ):
        assert name in lines
