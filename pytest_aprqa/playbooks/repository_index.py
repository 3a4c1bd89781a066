"""From a model id to its playbook of a tier: by what playbooks say they test, then by the rule of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pytest_aprqa.playbooks.lookup import SUFFIX
from pytest_aprqa.playbooks.templates import short_name
from pytest_aprqa.playbooks.tiers import Tier, tier_words, tiers

_REPOSITORY_LINE = re.compile(r"^\s+hf_repo:\s*[\"']?([A-Za-z0-9_-]+/[A-Za-z0-9._-]+)[\"']?\s*(?:#.*)?$", re.MULTILINE)
READ_BYTES = 1 << 20


class RepositoryIndex:
    """Playbooks of folders (not below them) by `model.hf_repo` and by the tier word of their names."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._files: dict[str, dict[str, Path]] = {}
        self.stems: dict[str, Path] = {}
        for folder in folders:
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                stem = path.name.removesuffix(SUFFIX)
                self.stems.setdefault(stem, path)
                if (repository := _repository_of(path)) is not None:
                    self._files.setdefault(repository, {}).setdefault(tier_word(stem), path)

    def repositories(self) -> list[str]:
        """Model ids that have a playbook, sorted."""
        return sorted(self._files)

    def playbook(self, model_id: str, tier: Tier) -> Path | None:
        """The playbook of a model for a tier: a suffix of the tier in its order of preference, else the name rule."""
        known = self._files.get(model_id, {})
        for suffix in tier.suffixes:
            if suffix.removeprefix("-") in known:
                return known[suffix.removeprefix("-")]
        for suffix in tier.suffixes:
            if (path := self.stems.get(short_name(model_id) + suffix)) is not None:
                return path
        return None

    def any_playbook(self, model_id: str) -> Path | None:
        """Some playbook of a model, the mvp one first."""
        known = self._files.get(model_id, {})
        return next((known[word] for word in ("mvp", "", *sorted(known)) if word in known), None)


def tier_word(stem: str) -> str:
    """`mvp`, `smoke`, `quick`, ... at the end of a playbook's name; empty where there is none."""
    word = stem.rpartition("-")[2]
    return word if word in tier_words() else ""


def _repository_of(path: Path) -> str | None:
    """What the file says of its model. Read without a YAML parser: an index must not fail on one bad file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            match = _REPOSITORY_LINE.search(stream.read(READ_BYTES))
    except OSError:
        return None
    return match[1] if match else None


def tier_names() -> list[str]:
    """Names of the tiers, smallest first."""
    return [tier.name for tier in tiers()]
