"""The example of `aprqa tools` with the released program: its findings are counted, and their number is no error."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from pytest_aprqa.cli.examples import examples_of
from pytest_aprqa.cli.main import call
from pytest_aprqa.lifecycle.cache import cache_folder
from pytest_aprqa.lifecycle.derive import derive
from tests.cli.all_commands import COMMANDS
from tests.plugin.conftest import TINY_MODEL

pytestmark = pytest.mark.real_apr


def test_the_example_of_tools_runs_the_program(apr, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(apr.path.parent), prepend=":")
    shutil.copyfile(derive(TINY_MODEL, "apr", cache=cache_folder()).path, tmp_path / "model.apr")
    (example,) = examples_of(COMMANDS["tools"])
    capfd.readouterr()
    assert call(shlex.split(example)[1:]) == 1  # release 0.72.3 does not do all that its tools say
    passed, failed = re.search(r"Total: (\d+) passed, (\d+) failed", capfd.readouterr().out).groups()
    assert min(int(passed), int(failed)) > 0
