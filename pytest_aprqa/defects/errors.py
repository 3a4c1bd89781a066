"""Errors of seeding a defect: unknown name, wrong kind of source, a model the defect cannot happen to."""

from __future__ import annotations

from pathlib import Path


class DefectError(ValueError):
    """A defect cannot be seeded. One line: `path: defect: problem; advice`."""

    def __init__(self, path: Path | str, defect: str, problem: str, advice: str | None = None) -> None:
        self.path = path
        self.defect = defect
        self.problem = problem
        self.advice = advice
        super().__init__(f"{path}: {defect}: {problem}" + (f"; {advice}" if advice else ""))


class DefectNotApplicableError(DefectError):
    """This model has nothing that the defect could break (no bias, no second layer, no separate head, ...)."""
