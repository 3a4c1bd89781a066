"""Counts over the values of one tensor, streamed in chunks so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.formats.tensor_file import TensorFile


@dataclass(slots=True)
class ValueCounts:
    """Numbers of values of a tensor by kind."""

    total: int = 0
    nan: int = 0
    infinite: int = 0
    nonzero: int = 0


def count_values(file: TensorFile, name: str) -> ValueCounts:
    """Count NaN, infinities and non-zero values of a tensor."""
    import numpy

    counts = ValueCounts()
    for chunk in file.chunks(name):
        counts.total += chunk.size
        finite = numpy.isfinite(chunk)
        if not finite.all():
            counts.nan += int(numpy.isnan(chunk).sum())
            counts.infinite += int(numpy.isinf(chunk).sum())
        counts.nonzero += int(numpy.count_nonzero(chunk))
    return counts
