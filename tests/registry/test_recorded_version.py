"""A tier that other weights have proven is not that of these: told by the evidence of the run that wrote the row."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.registry.recorded_version import is_another_version
from tests.reporting.attempt_factory import attempt

OLD, NEW = "a" * 64, "b" * 64
RECORDED = "2026-03-02T10:00:00+00:00"


def entries(source, declarations=None, day=1):
    metadata = {"source_sha256": source} if source else {}
    metadata |= {"declarations_sha256": declarations} if declarations else {}
    return [attempt(metadata={}), attempt(metadata=metadata, timestamp=f"2026-03-{day:02}T10:00:00+00:00")]


def write(folder, name, found):
    (folder / name).write_text("".join(json.dumps(entry.to_dict()) + "\n" for entry in found))


@pytest.mark.parametrize(
    ("before", "now", "other"),
    [
        ((OLD,), (OLD,), False),
        ((OLD,), (NEW,), True),
        ((OLD, OLD), (OLD, NEW), True),
        ((OLD, OLD), (OLD, OLD), False),
        ((OLD,), (OLD, NEW), False),  # an older log says nothing of declarations
        ((None,), (NEW,), False),
        ((OLD,), (None,), False),
    ],
)
def test_another_version_is_one_with_another_digest(tmp_path, before, now, other):
    write(tmp_path, "evidence.1.jsonl", entries(*before))
    write(tmp_path, "evidence.jsonl", entries(*now, day=3))
    assert is_another_version(entries(*now, day=3), tmp_path, RECORDED) is other


def test_a_run_that_was_recorded_by_nobody_decides_nothing(tmp_path):
    """It began after the row was written, and was stopped."""
    write(tmp_path, "evidence.1.jsonl", entries(OLD, day=1))
    write(tmp_path, "evidence.2.jsonl", entries(NEW, day=3))
    assert is_another_version(entries(NEW, day=4), tmp_path, RECORDED)
    assert not is_another_version(entries(OLD, day=4), tmp_path, RECORDED)


def test_the_youngest_recorded_run_decides(tmp_path):
    write(tmp_path, "evidence.1.jsonl", entries(OLD, day=1))
    write(tmp_path, "evidence.2.jsonl", entries(NEW, day=2))
    assert not is_another_version(entries(NEW, day=4), tmp_path, RECORDED)


@pytest.mark.parametrize("text", ["", "{", "[]\n", "7\n", '{"metadata": 3}\n', '{"metadata": {"source_sha256": 3}}\n'])
def test_a_log_that_is_none_says_nothing(tmp_path, text):
    (tmp_path / "evidence.1.jsonl").write_text(text)
    (tmp_path / "evidence.2.jsonl").mkdir()
    assert not is_another_version(entries(NEW), tmp_path, RECORDED)


@pytest.mark.parametrize("last_certified", ["", "never"])
def test_a_row_that_no_run_wrote_has_no_version(tmp_path, last_certified):
    write(tmp_path, "evidence.1.jsonl", entries(OLD))
    assert not is_another_version(entries(NEW), tmp_path, last_certified)
