"""Progress of the workers: lines on a terminal while they work, nothing in a log."""

from __future__ import annotations

import time

import pytest

from pytest_aprqa import progress
from pytest_aprqa.progress import ProgressBoard


class Reporter:
    def __init__(self, isatty):
        self.isatty, self.lines = isatty, []

    def ensure_newline(self):
        pass

    def write_line(self, text, **style):
        self.lines.append(text)


@pytest.mark.parametrize(("isatty", "lines"), [(True, ["[aprqa gw0] gguf cpu: chat, 12 prompts"]), (False, [])])
def test_progress_is_for_a_terminal(tmp_path, monkeypatch, isatty, lines):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    (tmp_path / "gw0.progress").write_text("gguf cpu: chat, 12 prompts")
    (tmp_path / ".gw1.progress").write_text("a note that is being written")
    reporter = Reporter(isatty)
    board = ProgressBoard(reporter, tmp_path)
    board.start()
    until = time.monotonic() + (20 if isatty else 0.3)
    while not reporter.lines and time.monotonic() < until:
        time.sleep(0.01)
    board.stop()
    assert reporter.lines == lines
