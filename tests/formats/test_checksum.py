"""The checksum in pieces is that of zlib, whatever the pieces."""

from __future__ import annotations

import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.formats.checksum import PIECE, combined, crc32


@given(st.binary(), st.binary())
def test_two_checksums_join_to_that_of_the_whole(first: bytes, second: bytes) -> None:
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@given(st.binary(max_size=200), st.integers(1, 64))
def test_any_size_of_piece_gives_the_same(data: bytes, piece: int) -> None:
    assert crc32(memoryview(data), piece=piece) == zlib.crc32(data)


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5])
def test_sizes_around_a_piece(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert crc32(memoryview(data)[:size]) == zlib.crc32(data[:size])


def test_every_piece_is_told_once_and_together_they_are_the_whole() -> None:
    told, lock = [], threading.Lock()

    def done(start: int, stop: int) -> None:
        with lock:
            told.append((start, stop))

    crc32(memoryview(bytes(1000)), done, piece=300)
    assert sorted(told) == [(0, 300), (300, 600), (600, 900), (900, 1000)]


def test_a_small_one_is_read_at_once() -> None:
    assert crc32(memoryview(b"123456789"), lambda start, stop: pytest.fail("told")) == 0xCBF43926
