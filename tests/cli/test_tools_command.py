"""`aprqa tools` as the released `apr qualify --tier full` calls it: by its second name, with `apr` on the PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_aprqa.engines.apr_tools import TOOLS

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "engines" / "fake_apr.py"
PROGRAM = "import sys; from pytest_aprqa.cli.main import main; sys.argv[0] = {name!r}; main()"


@pytest.fixture
def environment(tmp_path):
    """An `apr` on the PATH whose tools mostly fail, and a model file of its own."""
    program = tmp_path / "bin" / "apr"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n" + FAKE.read_text(encoding="utf-8"))
    program.chmod(0o755)
    (tmp_path / "model.apr").touch()
    return os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("name", ["aprqa", "apr-qa"])
def test_both_names_judge_a_file_by_their_exit_code(name, environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name), "tools", "model.apr", "--no-gpu", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    entries = json.loads(done.stdout)
    assert [entry["tool"] for entry in entries] == [tool.name for tool in TOOLS]
    skipped = sum("needs the model" in entry["reason"] or "is empty" in entry["reason"] for entry in entries)
    assert skipped == 4
    assert f"Total: 1 passed, {len(TOOLS) - skipped - 1} failed" in done.stderr
    assert json.loads((tmp_path / "output" / "tool_tests.json").read_text()) == entries


def test_without_the_program_it_is_wrong_use_in_one_line(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name="apr-qa"), "tools", "model.apr", "--no-gpu"],
        cwd=tmp_path, env=environment | {"PATH": str(tmp_path / "empty")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "see apr-qa tools --help" in done.stderr
