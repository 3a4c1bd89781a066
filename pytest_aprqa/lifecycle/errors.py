"""The typed, one-line error of every lifecycle operation."""

from __future__ import annotations

from pytest_aprqa.formats.errors import LocatedError


class LifecycleError(LocatedError):
    """A conversion or cache operation that cannot be done."""
