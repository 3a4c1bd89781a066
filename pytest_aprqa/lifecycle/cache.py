"""The content-addressed work cache: an entry is named by everything that decides its bytes, so it is never stale.

Entries appear by atomic rename under a file lock; an entry whose bytes no longer match its record is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_aprqa.lifecycle.errors import LifecycleError

RECORD_NAME = "entry.json"
_ADVICE = "point APRQA_CACHE at a folder that can be written and has free space"

Waiting = Callable[[], None]


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One finished entry: `path` is the artifact, `sha256` its digest, `fresh` whether this call built it."""

    path: Path
    sha256: str
    fresh: bool


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Folder of the work cache: `APRQA_CACHE`, else `XDG_CACHE_HOME/pytest-aprqa`, else `~/.cache/pytest-aprqa`."""
    values = os.environ if environ is None else environ
    if values.get("APRQA_CACHE"):
        return Path(values["APRQA_CACHE"]).expanduser()
    base = values.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(values.get("HOME") or Path.home()) / ".cache") / "pytest-aprqa"


def content_key(files: Mapping[str, str], *, format: str, converter: str, options: Mapping[str, Any]) -> str:  # noqa: A002
    """Key of an entry: sha256 over the source digests (`name -> sha256`), target format, converter and options."""
    document = {"files": dict(files), "format": format, "converter": converter, "options": dict(options)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def cached_file(
    cache: Path,
    key: str,
    name: str,
    build: Callable[[Path], None],
    *,
    record: Mapping[str, Any] | None = None,
    waiting: Waiting | None = None,
) -> CacheEntry:
    """Return entry `key` of `cache`, calling `build(path)` to write file `name` when it is absent or damaged.

    One process builds, the others wait (`waiting` is then called once). `record` is kept beside the file. Raises
    LifecycleError when the cache cannot be written; other errors of `build` pass through and leave nothing behind.
    """
    entry = cache / key
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{key}.lock", waiting):
            digest = _intact_digest(entry, name)
            if digest is not None:
                return CacheEntry(entry / name, digest, fresh=False)
            _remove_left_overs(cache, key)
            return CacheEntry(entry / name, _build(cache, key, name, build, record or {}), fresh=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LifecycleError(cache, "work cache", f"cannot be written: {reason}", advice=_ADVICE) from error


class _locked:  # noqa: N801 - reads as a statement: with _locked(path)
    """File lock that reports once before it waits for another process."""

    def __init__(self, path: Path, waiting: Waiting | None) -> None:
        self._lock = FileLock(path)
        self._waiting = waiting

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            if self._waiting is not None:
                self._waiting()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _intact_digest(entry: Path, name: str) -> str | None:
    """Digest of a finished entry, None when there is none or its bytes differ from the record."""
    path = entry / name
    try:
        recorded = json.loads((entry / RECORD_NAME).read_text(encoding="utf-8"))
        if path.stat().st_size != recorded["size"]:
            return None
        from pytest_aprqa.formats.tensor_file import sha256_of  # with numpy: the place of the cache needs none

        digest = sha256_of([path])
        return digest if digest == recorded["sha256"] else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _remove_left_overs(cache: Path, key: str) -> None:
    """Remove a damaged entry and temporary folders of builders that died; only called with the lock of `key` held."""
    for path in [cache / key, *cache.glob(f".building-{key}-*")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()


def _build(cache: Path, key: str, name: str, build: Callable[[Path], None], record: Mapping[str, Any]) -> str:
    temporary = Path(tempfile.mkdtemp(prefix=f".building-{key}-", dir=cache))
    try:
        path = temporary / name
        build(path)
        from pytest_aprqa.formats.tensor_file import sha256_of  # with numpy: the place of the cache needs none

        digest = sha256_of([path])
        document = {**record, "file": name, "size": path.stat().st_size, "sha256": digest}
        (temporary / RECORD_NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.rename(cache / key)
        return digest
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
