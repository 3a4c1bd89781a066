"""The matrix of a run: for each part of an artifact (rows) and each format (columns), what held and what not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import (
    CORROBORATED,
    CRASHED,
    FALSIFIED,
    NO_PLAYBOOK,
    SKIPPED,
    TIMEOUT,
    format_of,
    outcome_of,
    scenario_field,
)

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

FILE_ROW = "file"
ENGINE_ROW = "engine"
_MODALITIES = (ENGINE_ROW, "run", "chat", "serve")
_BACKENDS = (None, "cpu", "gpu")


@dataclass(slots=True)
class CellResult:
    """Outcomes of one cell of the matrix."""

    outcomes: dict[str, int] = field(default_factory=dict)
    skip_reasons: list[str] = field(default_factory=list)

    def add(self, evidence: Evidence) -> None:
        """Count one entry."""
        outcome = outcome_of(evidence)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome == SKIPPED and evidence.reason not in self.skip_reasons:
            self.skip_reasons.append(evidence.reason)

    @property
    def passed(self) -> int:
        """Entries that were corroborated."""
        return self.outcomes.get(CORROBORATED, 0)

    @property
    def skipped(self) -> int:
        """Entries that were not run."""
        return self.outcomes.get(SKIPPED, 0)

    @property
    def run(self) -> int:
        """Entries that were run, whatever came out."""
        return sum(self.outcomes.values()) - self.skipped

    @property
    def worst(self) -> str:
        """The worst outcome: Crashed, Timeout, Falsified, Corroborated; Skipped if nothing ran."""
        order = (CRASHED, TIMEOUT, FALSIFIED, CORROBORATED)
        return next((outcome for outcome in order if self.outcomes.get(outcome)), SKIPPED)

    @property
    def mark(self) -> str:
        """`12 pass`, `11/12 FAIL`, `11/12 CRASH`, `skip`: passed of run, and never "pass" where nothing ran."""
        if not self.run:
            return "skip"
        if self.worst == CORROBORATED:
            return f"{self.passed} pass"
        word = {FALSIFIED: "FAIL", CRASHED: "CRASH", TIMEOUT: "TIMEOUT"}[self.worst]
        return f"{self.passed}/{self.run} {word}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `backend` None for checks of the file itself, `part` "file", "engine", "run", "chat" or "serve"."""

    backend: str | None
    part: str
    cells: dict[str, CellResult]

    @property
    def label(self) -> str:
        """`file`, `cpu engine`, `gpu chat`."""
        return " ".join(text for text in (self.backend, self.part) if text)

    @property
    def nothing_ran(self) -> bool:
        """True when every entry of the row was skipped."""
        return not any(cell.run for cell in self.cells.values())


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix of one playbook; `whole` counts checks that belong to no format."""

    playbook: str
    formats: list[str]
    rows: list[Row]
    whole: CellResult


def matrices_of(evidence: Sequence[Evidence]) -> list[Matrix]:
    """One matrix per playbook, in the order in which they ran."""
    groups: dict[str, list[Evidence]] = {}
    for entry in evidence:
        groups.setdefault(entry.playbook or NO_PLAYBOOK, []).append(entry)
    return [_matrix(playbook, entries) for playbook, entries in groups.items()]


def _matrix(playbook: str, entries: list[Evidence]) -> Matrix:
    formats: list[str] = []
    cells: dict[tuple[str | None, str], dict[str, CellResult]] = {}
    whole = CellResult()
    for entry in entries:
        format_name = format_of(entry)
        if format_name is None:
            whole.add(entry)
            continue
        if format_name not in formats:
            formats.append(format_name)
        backend = scenario_field(entry, "backend")
        modality = scenario_field(entry, "modality")
        part = modality or (ENGINE_ROW if backend else FILE_ROW)
        cells.setdefault((backend, part), {}).setdefault(format_name, CellResult()).add(entry)
    rows = [Row(backend, part, results) for (backend, part), results in cells.items()]
    return Matrix(playbook, formats, sorted(rows, key=_row_order), whole)


def _row_order(row: Row) -> tuple[int, str, int, str]:
    backend = _BACKENDS.index(row.backend) if row.backend in _BACKENDS else len(_BACKENDS)
    part = _MODALITIES.index(row.part) if row.part in _MODALITIES else -1 if row.part == FILE_ROW else len(_MODALITIES)
    return backend, row.backend or "", part, row.part
