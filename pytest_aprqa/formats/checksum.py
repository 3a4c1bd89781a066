"""CRC-32 of large maps: pieces on several cores, joined by the arithmetic of the checksum, in bounded memory."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

PIECE: Final = 16 * 2**20
_POLYNOMIAL: Final = 0xEDB88320
_MOST_THREADS: Final = 8

Operator = tuple[int, ...]


def crc32(data: memoryview, done: Callable[[int, int], None] | None = None, *, piece: int = PIECE) -> int:
    """`zlib.crc32` of DATA. DONE(start, stop) is told of each piece once it is read, from the thread that read it.

    Pieces of PIECE bytes are read by as many threads as there are cores (zlib lets go of the interpreter lock).
    """
    if len(data) <= piece:
        return zlib.crc32(data)
    starts = range(0, len(data), piece)

    def part(start: int) -> int:
        stop = min(start + piece, len(data))
        checksum = zlib.crc32(data[start:stop])
        if done is not None:
            done(start, stop)
        return checksum

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as threads:
        parts = list(threads.map(part, starts))
    total = 0
    for start, checksum in zip(starts, parts, strict=True):
        total = combined(total, checksum, min(piece, len(data) - start))
    return total


def combined(first: int, second: int, size: int) -> int:
    """CRC-32 of two byte strings one after the other, from theirs and the SIZE of the second in bytes."""
    return _times(_zeros(size), first) ^ second


@cache
def _zeros(size: int) -> Operator:
    """What SIZE zero bytes do to a checksum: a 32 x 32 matrix over GF(2), column n = the image of bit n."""
    operator: Operator = (_POLYNOMIAL, *(1 << bit for bit in range(31)))  # one zero bit
    for _ in range(3):
        operator = _product(operator, operator)
    result: Operator = tuple(1 << bit for bit in range(32))
    while size:
        if size & 1:
            result = _product(operator, result)
        operator = _product(operator, operator)
        size >>= 1
    return result


def _product(left: Operator, right: Operator) -> Operator:
    return tuple(_times(left, column) for column in right)


def _times(operator: Sequence[int], vector: int) -> int:
    image, bit = 0, 0
    while vector:
        if vector & 1:
            image ^= operator[bit]
        vector >>= 1
        bit += 1
    return image
