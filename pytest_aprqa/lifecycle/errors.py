"""The typed, one-line error of every lifecycle operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class LifecycleError(ValueError):
    """A conversion or cache operation that cannot be done.

    Prints as one line: `path: where: problem (found X, limit Y); advice`. All parts stay available as attributes.
    """

    def __init__(
        self,
        path: Path | str,
        where: str,
        problem: str,
        *,
        found: Any = None,
        limit: Any = None,
        advice: str | None = None,
    ) -> None:
        self.path = path
        self.where = where
        self.problem = problem
        self.found = found
        self.limit = limit
        self.advice = advice
        details = [f"{label} {value}" for label, value in (("found", found), ("limit", limit)) if value is not None]
        text = f"{path}: {where}: {problem}"
        if details:
            text += f" ({', '.join(details)})"
        if advice:
            text += f"; {advice}"
        super().__init__(" ".join(text.split()))
