"""The fuzzer finds faults that were put into a reader, and keeps the file that showed each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.campaign import ENVIRONMENT
from tests.fuzz.target import mutant
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]


def process(fault: str, count: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """The ended process of `count` inputs in a reader with a fault."""
    command = [sys.executable, "-m", "tests.fuzz.planted_faults", fault, str(count), str(folder)]
    environment = os.environ | ENVIRONMENT
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def fuzzed(fault: str, count: int, folder: Path) -> list[dict[str, str]]:
    """The findings of `count` inputs in a reader with a fault."""
    ended = process(fault, count, folder)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["findings"] or result["inputs"] == count
    return result["findings"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("unknown-type", "KeyError: "),
        ("believes-a-count", "MemoryError: "),
        ("counts-for-ever", "no answer within"),
        ("70-mib", "MemoryError: "),  # the bound is 64 MiB and the size of the file
    ],
)
def test_a_planted_fault_is_found(fault: str, problem: str, tmp_path: Path) -> None:
    (finding,) = fuzzed(fault, 2000, tmp_path)
    assert problem in finding["problem"]
    seeds = TARGETS["safetensors"].seeds()
    kept = list(corpus.kept("safetensors").values())
    assert Path(finding["file"]).read_bytes() == mutant(seeds, int(finding["number"]), 1, kept)


# The process itself maps up to 16 MiB after its bound was set: the case below it leaves room for that.
@pytest.mark.parametrize(("fault", "count"), [("none", 200), ("48-mib", 5)])
def test_a_reader_without_a_fault_has_no_finding(fault: str, count: int, tmp_path: Path) -> None:
    assert fuzzed(fault, count, tmp_path) == []


def test_a_process_that_no_signal_wakes_ends_and_leaves_its_file(tmp_path: Path) -> None:
    ended = process("stuck-in-c", 2000, tmp_path)
    assert ended.returncode == 1
    assert "planted_faults.py" in ended.stderr
    assert len((tmp_path / TARGETS["safetensors"].file).read_bytes()) < 100
