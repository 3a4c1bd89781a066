"""No damaged file may crash, hang, flood memory or raise anything but a typed line. `--fuzz-inputs N` for long runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.campaign import ENVIRONMENT
from tests.fuzz.conftest import RESULT
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
FEW = 60  # damaged files for each reader in the everyday tests
IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for the damaged files, in memory where there is one."""
    place = IN_MEMORY / f"aprqa-fuzz-{tmp_path.name}-{abs(hash(tmp_path))}" if IN_MEMORY.is_dir() else tmp_path / "fuzz"
    yield place
    shutil.rmtree(place, ignore_errors=True)


def campaign(
    readers: str, first: int, count: int, run: int, folder: Path, kept: Path, seconds: float = 0.0
) -> list[dict[str, Any]]:
    """Results of the child. Fails with the findings, whose files are copied to `kept`."""
    command = [sys.executable, "-m", "tests.fuzz.campaign", readers, str(first), str(count), str(run), str(folder)]
    command += [str(seconds)] if seconds else []
    environment = os.environ | ENVIRONMENT
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    if ended.returncode:
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        pytest.fail(f"the reader's process died ({ended.returncode}); the file is in {kept}: {ended.stderr[-1500:]}")
    findings = [finding for result in results for finding in result["findings"]]
    for finding in findings:
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(finding["file"], kept)
    told = "\n".join(f"{Path(f['file']).name} (input {f['number']} of run {run}): {f['problem']}" for f in findings)
    assert not findings, f"{told}\nthe files are in {kept}; mend the reader and keep them in tests/data/fuzz/READER"
    return results


def test_a_few_damaged_files_for_each_reader(folder: Path, tmp_path: Path) -> None:
    results = campaign(",".join(TARGETS), 0, FEW, 0, folder, tmp_path / "findings")
    assert [result["reader"] for result in results] == list(TARGETS)
    for result in results:
        assert result["inputs"] == FEW
        assert 0 < result["refused"] <= FEW or not TARGETS[result["reader"]].refuses


@pytest.mark.fuzz
def test_many_damaged_files(
    reader: str,
    first: int,
    count: int,
    folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    job_seconds: float,
) -> None:
    if not count:
        pytest.skip("a long run is asked for by --fuzz-inputs N")
    run = request.config.getoption("fuzz_run", 1)
    (result,) = campaign(reader, first, count, run, folder, tmp_path / "findings", job_seconds)
    told = {key: result[key] for key in ("reader", "asked", "inputs", "refused", "seconds", "rules")}
    request.node.user_properties.append((RESULT, json.dumps(told)))
    assert 0 < result["inputs"] <= count
    assert job_seconds or result["inputs"] == count
