"""The lock file: any changed byte is drift, and the error says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.lock import check_lock, drift, lock_of, lock_text, locked_entries, read_lock

COMMITTED = Path(__file__).resolve().parents[2] / "playbooks"
EXAMPLE = "a2a79ea37edb1963efaae29281523ab441a8a99df048d204f22f3f413e325afc"  # of `name: x\n`, playbook.md 7.1


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.playbook.yaml").write_bytes(b"name: x\n")
    (tmp_path / "a.playbook.yaml").write_bytes(b"name: a\n")
    return tmp_path


def locked(folder):
    path = folder / "playbook.lock.yaml"
    path.write_text(lock_text(locked_entries(folder)))
    return read_lock(path)


def test_digest_is_of_the_bytes_and_entries_are_sorted(folder):
    entries = locked_entries(folder)
    assert list(entries) == ["a", "b"]
    assert entries["b"] == EXAMPLE


def test_what_is_written_is_read_back(folder):
    lock = locked(folder)
    assert lock == locked_entries(folder)
    assert drift(folder, lock) == []
    check_lock(folder / "sub" / "b.playbook.yaml", lock)


def test_one_changed_byte_is_drift(folder):
    lock = locked(folder)
    (folder / "a.playbook.yaml").write_bytes(b"name: b\n")
    (folder / "new.playbook.yaml").write_bytes(b"")
    (folder / "sub" / "b.playbook.yaml").unlink()
    assert drift(folder, lock) == [
        "a: changed since it was locked",
        "new: not in the lock file",
        "b: locked, but there is no such playbook",
    ]
    with pytest.raises(PlaybookError, match=r"changed since it was locked.*aprqa lock-playbooks"):
        check_lock(folder / "a.playbook.yaml", lock)
    with pytest.raises(PlaybookError, match="is not in the lock file"):
        check_lock(folder / "new.playbook.yaml", lock)


def test_the_lock_of_a_playbook_is_the_nearest_that_lists_it(folder):
    playbook = folder / "sub" / "b.playbook.yaml"
    assert lock_of(playbook) is None
    locked(folder)
    nearer = folder / "sub" / "playbook.lock.yaml"
    nearer.write_text(lock_text({"other": "0" * 64}))
    assert lock_of(playbook) == (folder / "playbook.lock.yaml", locked_entries(folder))
    nearer.write_text(lock_text({"b": "0" * 64}))
    assert lock_of(playbook) == (nearer, {"b": "0" * 64})
    nearer.write_text("entries: 3")
    with pytest.raises(PlaybookError, match="is no lock file"):
        lock_of(playbook)


def test_two_playbooks_of_one_name_are_refused(folder):
    (folder / "sub" / "a.playbook.yaml").write_bytes(b"")
    with pytest.raises(PlaybookError, match="another playbook has this name"):
        locked_entries(folder)


def test_no_playbooks_is_an_error_and_no_lock_is_none(tmp_path):
    with pytest.raises(PlaybookError, match="has no"):
        locked_entries(tmp_path)
    assert read_lock(tmp_path / "playbook.lock.yaml") is None


@pytest.mark.parametrize(
    "text",
    ["[]", "entries: 3", "entries:\n  a: {sha256: abc}", "entries:\n  a: 1", f"entries:\n  a: {{sha256: {'G' * 64}}}"],
)
def test_what_is_no_lock_is_refused(tmp_path, text):
    path = tmp_path / "playbook.lock.yaml"
    path.write_text(text)
    with pytest.raises(PlaybookError):
        read_lock(path)


def test_committed_playbooks_are_the_locked_ones():
    assert drift(COMMITTED, read_lock(COMMITTED / "playbook.lock.yaml")) == []
