"""A new folder for each run, the link `latest` that points to the newest one, and taking both back."""

from __future__ import annotations

import contextlib
import errno
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pytest_aprqa.evidence.errors import EvidenceError

LATEST, LOG = "latest", "evidence.jsonl"
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
    _link(base, folder.name)


def _link(base: Path, target: str) -> None:
    link = base / LATEST
    if link.exists() and not link.is_symlink():
        return
    temporary = base / f".{LATEST}-{uuid.uuid4().hex}"
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


@dataclass(slots=True)
class FolderBefore:
    """What stood where a run writes, before it opened its folder: a run that never began leaves all as it was.

    `base` is the folder of the link `latest`, None where the run's folder was `given`.
    """

    base: Path | None
    given: Path | None = None
    aside: tuple[Path, Path] | None = None  # log of an earlier run: its name before, its name now
    latest: str | None = field(init=False, default=None)
    missing: list[Path] = field(init=False, default_factory=list)  # folders that were not there, the innermost first

    def __post_init__(self) -> None:
        if self.base is not None and (link := self.base / LATEST).is_symlink():
            self.latest = str(link.readlink())
        if (place := self.base or self.given) is not None:
            self.missing = [folder for folder in (place, *place.parents) if not folder.exists()]

    def restore(self, folder: Path) -> None:
        """Remove the empty log and every folder that the run made and nothing is in; give the earlier log back.

        `latest` is given back where it still points to FOLDER: what a run that began later made of it stays.
        """
        log = folder / LOG
        with contextlib.suppress(OSError):
            if log.is_file() and not log.is_symlink() and not log.stat().st_size:
                log.unlink()
            if self.aside is not None and not self.aside[0].exists():
                self.aside[1].rename(self.aside[0])
        with contextlib.suppress(OSError):
            if self.base is not None:
                folder.rmdir()
                link = self.base / LATEST
                if link.is_symlink() and str(link.readlink()) == folder.name:
                    link.unlink()
                    if self.latest is not None:
                        _link(self.base, self.latest)
        with contextlib.suppress(OSError):
            for made in self.missing:
                made.rmdir()
