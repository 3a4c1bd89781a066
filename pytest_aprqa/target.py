"""What one item looks at: a format, and as far as the check asks for them a backend, a modality and a scenario."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario

TARGET_FIXTURE = "target"
_GROUP_PATTERN = re.compile(r"\[(?P<format>[a-z]+)(?:-(?P<backend>cpu|gpu))?(?:[-\]])")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix: the modality of one format on one backend."""

    format: str
    backend: str
    modality: str

    def __str__(self) -> str:
        return f"{self.format}-{self.backend}-{self.modality}"


@dataclass(frozen=True, slots=True)
class Target:
    """Parameters of one item; None where the check does not distinguish."""

    format: str | None = None
    backend: str | None = None
    modality: str | None = None
    scenario: Scenario | None = None

    @property
    def cell(self) -> Cell | None:
        """The matrix cell, where format, backend and modality are all known."""
        if self.format is None or self.backend is None or self.modality is None:
            return None
        return Cell(self.format, self.backend, self.modality)

    @property
    def id(self) -> str:
        """The part of the node id in brackets: `gguf`, `gguf-cpu`, `gguf-cpu-chat`, `gguf-cpu-chat-p03`."""
        if self.scenario is not None:
            return str(self.scenario.key)
        return "-".join(part for part in (self.format, self.backend, self.modality) if part)


def targets_for(playbook: Playbook, fixture_names: Collection[str]) -> Sequence[Target]:
    """The targets over which a check runs, from the fixtures that it asks for: the finest one decides."""
    matrix = playbook.matrix
    if {"scenario", "answer"} & set(fixture_names):
        from pytest_aprqa.playbooks.scenarios import expand

        return [Target(s.format, s.backend, s.modality, s) for s in expand(playbook)]
    if {"cell", "answers", "server_url"} & set(fixture_names):
        return [
            Target(format_name, backend, modality)
            for format_name in matrix.formats
            for backend in matrix.backends
            for modality in matrix.modalities
        ]
    if "engine" in fixture_names:
        return [Target(format_name, backend) for format_name in matrix.formats for backend in matrix.backends]
    if {"artifact", "lenient_file"} & set(fixture_names):
        return [Target(format_name) for format_name in matrix.formats]
    return [Target()]


def group_of(node_id: str, default_backend: str = "cpu") -> str:
    """The scheduling group of a node id: items that may share an engine, `{file}@{format}-{backend}`.

    Items of a whole format go with its default backend; items of the whole playbook form a group of their own.
    """
    path = node_id.split("::", 1)[0]
    match = _GROUP_PATTERN.search(node_id)
    if match is None:
        return f"{path}@playbook"
    return f"{path}@{match['format']}-{match['backend'] or default_backend}"
