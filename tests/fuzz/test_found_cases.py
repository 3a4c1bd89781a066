"""Every file that fuzzing once found (tests/data/fuzz/READER/NAME) and the kept corpus, under the same judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.judgement import judge
from tests.fuzz.model_targets import DATA
from tests.fuzz.targets import TARGETS

CASES = sorted(path for reader in TARGETS for path in (DATA / "fuzz" / reader).glob("*") if path.is_file())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_found_case_is_mended(case: Path, tmp_path: Path) -> None:
    target = TARGETS[case.parent.name]
    target.prepare(tmp_path)
    (tmp_path / target.file).write_bytes(case.read_bytes())
    assert judge(case.parent.name, tmp_path / target.file).finding is None


@pytest.mark.parametrize("reader", list(TARGETS))
def test_the_kept_corpus_is_still_refused(reader: str, tmp_path: Path) -> None:
    target, kept = TARGETS[reader], corpus.kept(reader)
    assert kept or not target.refuses, "add to it: pytest tests/fuzz --fuzz-inputs 20000 --fuzz-keep"
    target.prepare(tmp_path)
    for rule, data in kept.items():
        (tmp_path / target.file).write_bytes(data)
        verdicts = [judge(reader, tmp_path / target.file, number) for number in (0, 1)]
        assert not [one.finding for one in verdicts if one.finding], rule
        assert any(one.rule for one in verdicts), f"is accepted now: {rule}"
