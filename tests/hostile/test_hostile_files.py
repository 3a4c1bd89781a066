"""Each hostile file is refused with one typed line, at once, in little memory; the list of 54 is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.all_cases import CASES
from tests.hostile.judgement import LIMIT_BYTES

ROOT = Path(__file__).resolve().parents[2]
TYPED = {"FormatError", "ModelError", "TemplateStopped", "LifecycleError", "PlaybookError", "EvidenceError"}
TYPED |= {"TokenizerPanic"}


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, Any]]:
    """What one process said to all files, by name of the case; also of the case at which it died, if it did."""
    command = [sys.executable, "-m", "tests.hostile.judgement"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    if ended.returncode:
        died_at = CASES[len(results)].name if len(results) < len(CASES) else "the end"
        pytest.fail(f"the process died ({ended.returncode}) at {died_at}: {ended.stderr[-2000:]}")
    return {result["name"]: result for result in results}


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_at_once_with_one_line(case, said):
    result = said[case.name]
    assert result["kind"] in TYPED, f"{case.what}: {result['kind']}: {result['line']}"
    line = result["line"]
    assert len(line.splitlines()) == 1
    assert all(character.isprintable() for character in line)
    assert re.search(case.words, line), f"{case.what}: {line}"
    assert len(line) < 3000
    assert result["seconds"] < case.seconds, f"{case.what}: {result['seconds']:.1f} s"
    assert result["grown"] <= result["size"] + LIMIT_BYTES, f"{case.what}: {result['grown'] >> 20} MiB"
    assert not (ROOT / "harmed").exists()


def test_cases_have_names_of_their_own_and_origins():
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.what and case.origin and case.words for case in CASES)
