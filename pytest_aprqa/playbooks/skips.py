"""Skip files, NAME.skip.yaml beside a playbook: formats and backends that are left out on purpose, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.playbooks.document import load_yaml
from pytest_aprqa.playbooks.validation import check_verification

SUFFIX = ".skip.yaml"


@dataclass(frozen=True, slots=True)
class DeclaredSkip:
    """One entry: a format or backend that is not tested."""

    part: str
    reason: str
    tracking_issue: str | None = None

    def __str__(self) -> str:
        issue = f" ({self.tracking_issue})" if self.tracking_issue else ""
        return f"{self.part} is skipped on purpose: {self.reason}{issue}"


def skip_file(playbook: Path) -> Path:
    """Where the skip file of a playbook is looked for: in its folder."""
    return playbook.parent / (playbook.name.split(".playbook.")[0].removesuffix(".yaml") + SUFFIX)


def declared_skips(playbook: Path) -> tuple[DeclaredSkip, ...]:
    """The entries of the skip file of a playbook; empty where there is none. Raises PlaybookError with its place."""
    path = skip_file(playbook)
    if path == playbook or not path.is_file():
        return ()
    document = load_yaml(path)
    check_verification(document, "skips")
    entries: dict[str, DeclaredSkip] = {}
    for index, entry in enumerate(document.data):
        part = entry["format_or_backend"]
        if part in entries:
            raise document.error((index, "format_or_backend"), f"{part} has an entry already", advice="remove one")
        entries[part] = DeclaredSkip(part, entry["reason"], entry.get("tracking_issue"))
    return tuple(entries.values())
