"""The lock file of playbooks: SHA-256 of each, so that what is certified is the playbook that was reviewed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_aprqa.playbooks.document import load_yaml
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.lookup import SUFFIX

LOCK_NAME = "playbook.lock.yaml"
# For the reader: the fields that decide what is tested. Any changed byte breaks the lock.
LOCKED_FIELDS = ("model.hf_repo", "model.formats", "test_matrix", "falsification_gates")
RELOCK = "look at the change, then run: aprqa lock-playbooks"


def locked_entries(folder: Path) -> dict[str, str]:
    """SHA-256 by stem of every playbook in FOLDER and below, sorted. PlaybookError: none there, a stem twice."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        stem = path.name.removesuffix(SUFFIX)
        if stem in found:
            raise PlaybookError(path, f"another playbook has this name: {found[stem]}", advice="rename one of them")
        found[stem] = path
    if not found:
        raise PlaybookError(folder, f"has no *{SUFFIX}", advice="name the folder of the playbooks")
    return {stem: digest(found[stem]) for stem in sorted(found)}


def digest(path: Path) -> str:
    """SHA-256 of a playbook's bytes, lower-case hexadecimal. PlaybookError: not readable."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PlaybookError(path, f"cannot be read: {error.strerror}") from None


def lock_text(entries: Mapping[str, str]) -> str:
    """The content of the lock file; same playbooks, same bytes."""
    fields = ", ".join(LOCKED_FIELDS)
    lines = ["# Made by `aprqa lock-playbooks`; a playbook whose bytes changed is not certified.", "entries:"]
    for stem in sorted(entries):
        lines += [f'  "{stem}":', f"    sha256: {entries[stem]}", f"    locked_fields: [{fields}]"]
    return "\n".join(lines) + "\n"


def read_lock(path: Path) -> dict[str, str] | None:
    """SHA-256 by stem; None where there is no lock file. PlaybookError: not a lock file."""
    if not path.is_file():
        return None
    document = load_yaml(path)
    entries: Any = document.data.get("entries") if isinstance(document.data, dict) else None
    if not isinstance(entries, dict):
        raise PlaybookError(path, "is no lock file of playbooks: it has no `entries`", advice=RELOCK)
    digests: dict[str, str] = {}
    for stem, entry in entries.items():
        value = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise PlaybookError(path, f"entry {stem!r} has no SHA-256 of 64 hexadecimal digits", advice=RELOCK)
        digests[str(stem)] = value
    return digests


def locks_over(playbook: Path) -> list[Path]:
    """The lock files beside and above PLAYBOOK, the nearest first, whatever they list."""
    folders = Path(os.path.abspath(playbook)).parents
    return [folder / LOCK_NAME for folder in folders if os.path.isfile(folder / LOCK_NAME)]


def lock_of(
    playbook: Path, read: Callable[[Path], dict[str, str] | None] = read_lock
) -> tuple[Path, dict[str, str]] | None:
    """The nearest lock file beside or above PLAYBOOK that lists it, and its entries; None where none does.

    READ may remember what it has read. PlaybookError: a file of that name on the way is no lock file.
    """
    stem = playbook.name.removesuffix(SUFFIX)
    for path in locks_over(playbook):
        if (lock := read(path)) is not None and stem in lock:
            return path, lock
    return None


def check_lock(playbook: Path, lock: Mapping[str, str]) -> None:
    """PlaybookError when the playbook is not in the lock, or its bytes are others than the locked ones."""
    stem = playbook.name.removesuffix(SUFFIX)
    expected = lock.get(stem)
    if expected is None:
        raise PlaybookError(playbook, "is not in the lock file", advice=RELOCK)
    found = digest(playbook)
    if found != expected:
        raise PlaybookError(
            playbook, f"was changed since it was locked: expected sha256 {expected}", found=found, advice=RELOCK
        )


def drift(folder: Path, lock: Mapping[str, str]) -> list[str]:
    """What differs between the playbooks of FOLDER and the lock, one line each; empty when nothing does."""
    now = locked_entries(folder)
    lines = [f"{stem}: changed since it was locked" for stem in now if stem in lock and lock[stem] != now[stem]]
    lines += [f"{stem}: not in the lock file" for stem in now if stem not in lock]
    return lines + [f"{stem}: locked, but there is no such playbook" for stem in sorted(lock) if stem not in now]
