"""How xdist spreads items: those of one (playbook, format, backend) go to one worker, one engine load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_aprqa.target import group_of

if TYPE_CHECKING:
    import pytest


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of a run with playbooks, or None to leave xdist's own choice (`--dist` given, or other items).

    `loadgroup` is not used: with xdist 3.8 it stops grouping on pytest 9.2 without a word.
    """
    if config.getvalue("dist") not in ("load", "no"):
        return None
    from xdist.scheduler import LoadScopeScheduling

    class PlaybookScheduling(LoadScopeScheduling):  # type: ignore[misc]
        """Scope = the group that shares an engine; other test files keep one scope per file."""

        def _split_scope(self, nodeid: str) -> str:
            if ".playbook.y" in nodeid or "@" in nodeid:
                return group_of(nodeid)
            return nodeid.split("::", 1)[0]

    return PlaybookScheduling(config, log)
