"""A comparison needs two models with values in them: a file with itself, or zeros with zeros, proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import OpenArtifact


class NothingCompared(AssertionError):
    """The two sides are one file, or there is no value to compare: a green result would be a lie."""


def is_ground_truth(artifact: OpenArtifact, reference: OpenArtifact) -> bool:
    """True for the very object that the others are compared with: its own item has nothing to say."""
    return artifact is reference


def require_two_files(artifact: Path, reference: Path) -> None:
    """Raises NothingCompared where both paths lead to the same file or folder, by links too."""
    if artifact == reference or (artifact.exists() and reference.exists() and artifact.samefile(reference)):
        raise NothingCompared(f"self-comparison: {artifact} is compared with itself; give another reference")


def require_values(artifact: OpenArtifact, names: Iterable[str]) -> None:
    """Raises NothingCompared where no tensor is named, or not one of them has a value that is not zero."""
    compared = 0
    for name in names:
        compared += 1
        for piece in artifact.tensors.chunks(name):
            if piece.any():
                return
    if not compared:
        raise NothingCompared(f"{artifact.file.path}: no tensor in common: nothing was compared")
    raise NothingCompared(f"{artifact.file.path}: all {compared} tensors are zero: a comparison of zeros is none")
