"""The five outcomes of an attempt."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How an attempt to refute ended. Skipped is neither passed nor failed: it proves nothing."""

    CORROBORATED = "Corroborated"
    FALSIFIED = "Falsified"
    SKIPPED = "Skipped"
    TIMEOUT = "Timeout"
    CRASHED = "Crashed"

    @property
    def failed(self) -> bool:
        """True for Falsified, Timeout and Crashed."""
        return self in (Outcome.FALSIFIED, Outcome.TIMEOUT, Outcome.CRASHED)
