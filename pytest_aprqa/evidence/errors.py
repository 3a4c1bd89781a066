"""Errors of this room, one line each."""

from __future__ import annotations


class EvidenceError(ValueError):
    """Evidence cannot be written or read: file, where, what, what to do."""
