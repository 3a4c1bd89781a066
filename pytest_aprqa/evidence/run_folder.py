"""A new folder for each run, and the link `latest` that points to the newest one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

LATEST = "latest"
LONGEST_NAME = 80


def create_run_folder(base: Path, name: str) -> Path:
    """Create `BASE/{UTC time}-{name}` and point `BASE/latest` to it. Two runs of one second get different folders."""
    base.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", name)[:LONGEST_NAME].strip("-.") or "run"
    for number in range(1000):
        folder = base / (f"{stamp}-{safe}" if number == 0 else f"{stamp}-{safe}-{number + 1}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        point_latest(base, folder)
        return folder
    raise FileExistsError(f"{base}: a thousand runs in one second")


def point_latest(base: Path, folder: Path) -> None:
    """Replace the link `latest` atomically; a real file or folder of that name is left alone."""
    link = base / LATEST
    if link.exists() and not link.is_symlink():
        return
    temporary = base / f".{LATEST}-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.replace(link)
