"""The bar of long commands: there on a terminal, silent elsewhere, and gone when the work ends."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pytest_aprqa.cli import progress_bar
from pytest_aprqa.cli.progress_bar import CLEAR, bar, working


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch, after=0.0, every=0.0):
    """Standard error as a terminal, from now on: pytest puts its own back between the phases of a test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress_bar, "EVERY_SECONDS", every)
    monkeypatch.setattr(progress_bar, "AFTER_SECONDS", after)
    return stream


def work(**options):
    with bar("reading", 4, **options) as tell:
        for done in range(5):
            tell(done)


def test_a_terminal_sees_the_share_and_then_an_empty_line(monkeypatch):
    stream = terminal(monkeypatch)
    work()
    shown = stream.getvalue()
    assert "reading [######..................]  25%" in shown
    assert "100%" in shown
    assert shown.endswith(CLEAR)


def fail(tell):
    tell(1)
    raise ValueError("stop")


def test_an_error_leaves_no_bar(monkeypatch):
    stream = terminal(monkeypatch)
    with pytest.raises(ValueError, match="stop"), bar("reading", 4) as tell:
        fail(tell)
    assert "25%" in stream.getvalue()
    assert stream.getvalue().endswith(CLEAR)


def test_short_work_and_silent_work_show_nothing(monkeypatch):
    slow = terminal(monkeypatch, after=60.0)
    work()
    silent = terminal(monkeypatch)
    work(silent=True)
    assert slow.getvalue() == silent.getvalue() == ""


def test_no_terminal_sees_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress_bar, "AFTER_SECONDS", 0.0)
    work()
    assert stream.getvalue() == ""


def test_work_of_unknown_length_shows_its_seconds_on_a_terminal_only(monkeypatch):
    stream = terminal(monkeypatch, every=0.001)
    with working("reading"):
        until = time.monotonic() + 10
        while "reading ... 0 s" not in stream.getvalue() and time.monotonic() < until:
            time.sleep(0.005)
    assert "reading ... 0 s" in stream.getvalue()
    assert stream.getvalue().endswith(CLEAR)
    slow = terminal(monkeypatch, after=60.0)
    with working("reading"):
        pass
    silent = terminal(monkeypatch)
    with working("reading", silent=True):
        pass
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", other)
    with working("reading"):
        pass
    assert slow.getvalue() == silent.getvalue() == other.getvalue() == ""
