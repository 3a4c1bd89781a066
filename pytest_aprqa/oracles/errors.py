"""Errors of this room, one line each."""

from __future__ import annotations


class OracleError(ValueError):
    """An oracle is configured that does not exist, or with settings that it does not have."""
