"""How checks put several findings into one sentence, and read oracle settings from the playbook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.playbook import Playbook

_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:]+/)+")
SHOWN = 3  # findings that a message names; the evidence has the number of all


def listed(findings: Sequence[str], shown: int = SHOWN) -> str:
    """The first findings in one line, and how many more there are."""
    text = "; ".join(findings[:shown])
    return text if len(findings) <= shown else f"{text} ... and {len(findings) - shown} more"


def without_folders(text: str) -> str:
    """TEXT with the files of absolute paths by their last name: folders are other ones in every run."""
    return _FOLDERS.sub("", text)


def oracle_settings(playbook: Playbook, oracle: str) -> dict[str, Any]:
    """The `config` block of an oracle in the playbook; empty if the playbook does not configure it."""
    for configured in playbook.oracles:
        if configured["type"] == oracle:
            return dict(configured.get("config") or {})
    return {}
