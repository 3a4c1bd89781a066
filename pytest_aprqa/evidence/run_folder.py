"""A new folder for each run, and the link `latest` that points to the newest one."""

from __future__ import annotations

import errno
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from pytest_aprqa.evidence.errors import EvidenceError

LATEST = "latest"
LONGEST_NAME = 80
RUNS_IN_A_SECOND = 1000


def create_run_folder(base: Path, name: str) -> Path:
    """Create `BASE/{UTC time}-{name}` and point `BASE/latest` to it. Two runs of one second get different folders.

    EvidenceError when the folder cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", name)[:LONGEST_NAME].strip("-.") or "run"
    try:
        base.mkdir(parents=True, exist_ok=True)
        folder = _new_folder(base, f"{stamp}-{safe}")
    except OSError as error:
        raise EvidenceError(
            f"{base}: no run folder can be made there: {error.strerror}; choose a folder that can be written"
        ) from None
    point_latest(base, folder)
    return folder


def _new_folder(base: Path, stem: str) -> Path:
    for number in range(1, RUNS_IN_A_SECOND + 1):
        folder = base / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(errno.EEXIST, f"{RUNS_IN_A_SECOND} runs of one second exist")


def point_latest(base: Path, folder: Path) -> None:
    """Replace the link `latest` atomically; a real file or folder of that name is left alone.

    Without a word where the file system has no links: the link is a convenience, the run is not lost with it.
    """
    link = base / LATEST
    if link.exists() and not link.is_symlink():
        return
    temporary = base / f".{LATEST}-{uuid.uuid4().hex}"
    try:
        temporary.symlink_to(folder.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
