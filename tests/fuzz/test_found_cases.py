"""Every file that fuzzing once found: tests/data/fuzz/READER/NAME, replayed under the same judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.targets import DATA, TARGETS

CASES = sorted(path for reader in TARGETS for path in (DATA / "fuzz" / reader).glob("*") if path.is_file())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_found_case_is_mended(case: Path, tmp_path: Path) -> None:
    target = TARGETS[case.parent.name]
    target.prepare(tmp_path)
    (tmp_path / target.file).write_bytes(case.read_bytes())
    assert campaign.judge(case.parent.name, tmp_path / target.file) in (None, campaign.REFUSED)
