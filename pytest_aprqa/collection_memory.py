"""What collection remembers in one process, so that many playbooks cost no more than each of them once."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.playbook import Playbook

# By path; the time of the last change and the size say whether the file is still the one that was read.
_PLAYBOOKS = pytest.StashKey[dict[Path, tuple[tuple[int, int], "Playbook"]]]()
_PAUSED = pytest.StashKey[bool]()  # there while a session collects
_frozen = False  # by a session of this process


def playbook_of(config: pytest.Config, path: Path) -> Playbook:
    """The playbook of a file, read once in a process. Raises PlaybookError."""
    from pytest_aprqa.playbooks.loading import load_playbook

    known = config.stash.setdefault(_PLAYBOOKS, {})
    try:
        status = path.stat()
    except (OSError, ValueError):
        return load_playbook(path)  # which says what is wrong
    state = (status.st_mtime_ns, status.st_size)
    if path not in known or known[path][0] != state:
        known[path] = state, load_playbook(path)
    return known[path][1]


def collection_starts(config: pytest.Config) -> None:
    """What an earlier session of this process collected (`pytest.main` twice) is garbage now."""
    global _frozen
    if _frozen:
        gc.unfreeze()
        _frozen = False
    config.stash[_PAUSED] = False


def pause_cycle_search(config: pytest.Config) -> None:
    """Within a collection: stop Python's search for cycles of garbage until the collection ends.

    Every node of a collection lives until the session ends: searching tens of thousands of them again and again for
    garbage frees nothing and is a quarter of the time.
    """
    if _PAUSED in config.stash and gc.isenabled():
        gc.disable()
        config.stash[_PAUSED] = True


def collection_ends(config: pytest.Config) -> None:
    """Search again, if this session paused it; what was collected is left out, also when the process ends."""
    global _frozen
    if config.stash[_PAUSED]:
        gc.freeze()
        gc.enable()
        _frozen = True
    del config.stash[_PAUSED]
