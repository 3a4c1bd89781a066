"""Reading ahead asks for every byte once and in order, keeps to its window, and is never the reason of an error."""

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.formats import read_ahead as subject
from pytest_aprqa.formats.read_ahead import PIECE, UNDER_WAY, ReadAhead, side_by_side

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no hints about files")


@pytest.fixture
def asked(monkeypatch):
    """(offset, size) of each request."""
    requests = []
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, at, size, advice: requests.append((at, size)))
    return requests


@pytest.fixture
def file(tmp_path):
    """A sparse file of twenty pieces and a byte."""
    path = tmp_path / "weights"
    with path.open("wb") as stream:
        stream.truncate(20 * PIECE + 1)
    return path


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def is_over():
    return all(thread.name != "read-ahead" for thread in threading.enumerate())


def test_every_byte_is_asked_for_once_and_in_order(file, asked):
    with ReadAhead([(file, 0, file.stat().st_size)], window=1 << 40):
        wait_for(is_over)
    assert asked == [(at * PIECE, PIECE) for at in range(20)] + [(20 * PIECE, 1)]


@pytest.mark.parametrize(("window", "pieces"), [(4 * PIECE - 1, 3), (4 * PIECE, 4), (5 * PIECE - 1, 4)])
def test_never_more_than_the_window_beyond_what_was_used(file, asked, window, pieces):
    with ReadAhead([(file, 0, file.stat().st_size)], window) as ahead:
        wait_for(lambda: len(asked) >= pieces)
        time.sleep(0.05)
        assert len(asked) == pieces
        assert ahead.asked == pieces * PIECE
        ahead.used(2 * PIECE)
        wait_for(lambda: len(asked) >= pieces + 2)
        time.sleep(0.05)
        assert len(asked) == pieces + 2
    assert is_over()


def test_a_window_below_one_piece_still_asks_for_the_first(file, asked):
    with ReadAhead([(file, 0, PIECE)], window=0):
        wait_for(is_over)
    assert asked == [(0, PIECE)]


def test_no_more_requests_are_under_way_than_allowed(file, asked, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: waited.append((at, len(asked))))
    with ReadAhead([(file, 0, 10 * PIECE)], window=1 << 40):
        wait_for(is_over)
    # Before request N + UNDER_WAY is made, the last byte of request N has come.
    assert waited == [((number + 1) * PIECE - 1, number + UNDER_WAY) for number in range(10 - UNDER_WAY)]


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder", "shorter"])
def test_what_cannot_be_read_is_left_to_who_needs_it(tmp_path, file, kind):
    odd = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    elif kind == "shorter":
        odd.write_bytes(b"12")
    with ReadAhead([(odd, 0, 10 * PIECE), (file, 0, PIECE)], window=1 << 40) as ahead:
        wait_for(is_over)
    assert ahead.asked == 11 * PIECE


def test_an_error_while_asking_ends_it_quietly(file, monkeypatch, recwarn):
    def refuse(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with ReadAhead([(file, 0, 3 * PIECE)], window=1 << 40) as ahead:
        wait_for(is_over)
    assert ahead.asked == PIECE
    assert not recwarn


def test_a_system_without_hints_is_left_alone(file, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise")
    with ReadAhead([(file, 0, 3 * PIECE)], window=1 << 40) as ahead:
        assert is_over()
    assert ahead.asked == 0


def test_descriptors_are_closed_when_it_is_stopped_early(file):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        with ReadAhead([(file, 0, 20 * PIECE)], window=PIECE):
            pass
    wait_for(is_over)
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


@given(st.lists(st.integers(0, 90), max_size=4))
def test_files_side_by_side_are_covered_once_and_at_one_pace(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("files")
    files = [folder / str(number) for number in range(len(sizes))]
    for path, size in zip(files, sizes, strict=True):
        path.write_bytes(bytes(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "PIECE", 8)
        parts = list(side_by_side(files))
    for path, size in zip(files, sizes, strict=True):
        mine = [(start, length) for of, start, length in parts if of == path]
        assert [start for start, _ in mine] == [sum(n for _, n in mine[:i]) for i in range(len(mine))]
        assert sum(length for _, length in mine) == size
        assert all(length <= 8 for _, length in mine)
    done = dict.fromkeys(files, 0)
    for at, (path, _, length) in enumerate(parts, 1):
        done[path] += length
        if at % len(files) == 0:  # after each round all have come equally far
            shares = [done[one] / size for one, size in zip(files, sizes, strict=True) if size]
            assert max(shares) - min(shares) <= max(1 / size for size in sizes if size)
