"""The one error of this room: a registry file that cannot be used, in one line."""

from __future__ import annotations

from pathlib import Path


class RegistryError(ValueError):
    """models.csv or the README is missing or breaks its rules: `file:line: field: problem; what to do`."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None, advice: str | None = None) -> None:
        self.path = path
        self.problem = problem
        self.line = line
        self.advice = advice
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(" ".join(f"{place}: {problem}{f'; {advice}' if advice else ''}".split()))
