"""The work cache: one build per content, damage noticed, nothing half-written, one clear error when it cannot write."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from pytest_aprqa.lifecycle.cache import RECORD_NAME, cache_folder, cached_file, content_key
from pytest_aprqa.lifecycle.errors import LifecycleError


class Builder:
    def __init__(self, content: bytes = b"converted") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(self.content)


def test_cache_folder_takes_the_own_variable_before_the_general_one() -> None:
    values = {"APRQA_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}
    assert cache_folder(values) == Path("/a")
    del values["APRQA_CACHE"]
    assert cache_folder(values) == Path("/b/pytest-aprqa")
    del values["XDG_CACHE_HOME"]
    assert cache_folder(values) == Path("/c/.cache/pytest-aprqa")


def test_cache_folder_expands_the_home_sign() -> None:
    assert "~" not in str(cache_folder({"APRQA_CACHE": "~/models"}))


def test_key_changes_with_everything_that_decides_the_bytes() -> None:
    base = {"files": {"a": "1"}, "format": "apr", "converter": "c/1", "options": {"dtype": "native"}}
    variants = [
        base,
        {**base, "files": {"a": "2"}},
        {**base, "files": {"b": "1"}},
        {**base, "format": "gguf"},
        {**base, "converter": "c/2"},
        {**base, "options": {"dtype": "f32"}},
    ]
    keys = {content_key(variant.pop("files"), **variant) for variant in map(dict, variants)}
    assert len(keys) == len(variants)


def test_key_does_not_depend_on_the_order_of_files() -> None:
    rest = {"format": "apr", "converter": "c", "options": {}}
    assert content_key({"a": "1", "b": "2"}, **rest) == content_key({"b": "2", "a": "1"}, **rest)


def test_second_call_reads_what_the_first_built(tmp_path: Path) -> None:
    build = Builder()
    first = cached_file(tmp_path / "cache", "k", "model.apr", build, record={"converter": "c/1"})
    second = cached_file(tmp_path / "cache", "k", "model.apr", build)
    assert build.calls == 1
    assert (first.fresh, second.fresh) == (True, False)
    assert first.path == second.path
    assert first.sha256 == second.sha256
    record = json.loads((first.path.parent / RECORD_NAME).read_text())
    assert record["converter"] == "c/1"
    assert record["sha256"] == first.sha256
    assert record["size"] == len(build.content)


@pytest.mark.parametrize("damage", ["flipped", "shortened", "no file", "no record", "bad record", "old record"])
def test_damaged_entry_is_rebuilt(tmp_path: Path, damage: str) -> None:
    build = Builder()
    entry = cached_file(tmp_path, "k", "model.apr", build)
    record = entry.path.parent / RECORD_NAME
    if damage == "flipped":
        entry.path.write_bytes(b"Converted")
    elif damage == "shortened":
        entry.path.write_bytes(b"convert")
    elif damage == "no file":
        entry.path.unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "bad record":
        record.write_text("{")
    else:
        record.write_text("[]")
    again = cached_file(tmp_path, "k", "model.apr", build)
    assert build.calls == 2
    assert again.fresh
    assert again.path.read_bytes() == build.content


def test_failed_build_leaves_nothing_and_passes_its_error_on(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise LifecycleError(path, "tensor", "cannot be converted")

    with pytest.raises(LifecycleError, match="cannot be converted"):
        cached_file(tmp_path, "k", "model.apr", build)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_left_overs_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".building-k-dead").mkdir()
    (tmp_path / ".building-k-dead" / "model.apr").write_bytes(b"half")
    (tmp_path / ".building-other-alive").mkdir()
    cached_file(tmp_path, "k", "model.apr", Builder())
    assert not (tmp_path / ".building-k-dead").exists()
    assert (tmp_path / ".building-other-alive").exists()


def test_cache_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LifecycleError) as caught:
        cached_file(tmp_path / "file" / "cache", "k", "model.apr", Builder())
    assert "work cache: cannot be written" in str(caught.value)
    assert "APRQA_CACHE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LifecycleError, match="No space left on device"):
        cached_file(tmp_path, "k", "model.apr", build)
    assert not (tmp_path / "k").exists()
    assert not list(tmp_path.glob(".building-*"))


def test_a_second_caller_waits_says_so_and_does_not_build(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()
    waits: list[str] = []
    results = []

    def slow(path: Path) -> None:
        started.set()
        assert go_on.wait(30)
        path.write_bytes(b"converted")

    def never(path: Path) -> None:
        raise AssertionError("built twice")

    def wait() -> None:
        waits.append("waiting")
        go_on.set()

    first = threading.Thread(target=lambda: results.append(cached_file(tmp_path, "k", "m", slow)))
    first.start()
    assert started.wait(30)
    second = cached_file(tmp_path, "k", "m", never, waiting=wait)
    first.join()
    assert waits == ["waiting"]
    assert not second.fresh
    assert results[0].sha256 == second.sha256
