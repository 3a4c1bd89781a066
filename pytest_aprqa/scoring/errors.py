"""Errors of this room."""

from __future__ import annotations


class ScoringError(ValueError):
    """Evidence cannot be scored."""


class EmptyEvidence(ScoringError):
    """There is nothing to score: no entry, or none that ran."""
