"""The values of one tensor in two artifacts, in lockstep: equal pieces of bounded size, whatever the decoders cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

PIECE = 1 << 17  # values: 512 KiB of float32, half of a usual second cache


def paired_pieces(
    source: CanonicalTensors, target: CanonicalTensors, name: str, size: int = PIECE
) -> Iterator[tuple[NDArray[numpy.float32], NDArray[numpy.float32]]]:
    """Flat float32 pieces (source, target) of SIZE values, the last may be shorter; row-major, canonical row order.

    FormatError where a tensor cannot be decoded; ValueError where the two have another number of values.
    """
    return zip(even(source.chunks(name, size), size), even(target.chunks(name, size), size), strict=True)


def same_values(source: CanonicalTensors, target: CanonicalTensors, name: str) -> bool:
    """True when every value is equal; NaN equals nothing. Squares of differences can be too small to tell."""
    return all(numpy.array_equal(x, y) for x, y in paired_pieces(source, target, name))


def even(pieces: Iterator[NDArray[numpy.float32]], size: int) -> Iterator[NDArray[numpy.float32]]:
    """The same values in pieces of exactly SIZE (the last may be shorter), however the decoder cuts its own."""
    kept: list[NDArray[numpy.float32]] = []
    held = 0
    for piece in pieces:
        if not held and piece.size == size:  # the usual case: nothing is copied
            yield piece
            continue
        kept.append(piece)
        held += piece.size
        while held >= size:
            whole = kept[0] if len(kept) == 1 else numpy.concatenate(kept)
            yield whole[:size]
            kept, held = [whole[size:]], held - size
    if held:
        yield kept[0] if len(kept) == 1 else numpy.concatenate(kept)


def same_bytes(source: CanonicalTensors, target: CanonicalTensors, name: str, size: int = 1 << 22) -> bool:
    """True when both store NAME in one type with the same bytes in the same order; read at the speed of the disk."""
    if source.entry(name).dtype != target.entry(name).dtype:
        return False
    a, b = source.stored(name), target.stored(name)
    if a is None or b is None or a.size != b.size:
        return False
    for at in range(0, a.size, size):
        x, y = a[at : at + size], b[at : at + size]
        if not numpy.array_equal(x, y):
            return False
        source.count_read(name, x.size)
        target.count_read(name, x.size)
    return True
