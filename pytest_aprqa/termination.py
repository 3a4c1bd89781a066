"""SIGTERM, as schedulers and CI systems send it: the run ends as an interrupted one, engines ended, reports written."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Termination:
    """Turns the first SIGTERM of this process into a KeyboardInterrupt; a second one ends the process at once.

    `came` says whether there was one. A handler of somebody else stays; other threads cannot watch for signals.
    """

    def __init__(self) -> None:
        self.came = False
        self._process: int | None = None

    def watch(self) -> None:
        """Begin; nothing happens where it has begun."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._process = os.getpid()
            signal.signal(signal.SIGTERM, self._end)

    def stop_watching(self) -> None:
        """Give the signal back. Safe to call twice, and where nothing was watched."""
        if self._process == os.getpid() and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._process = None

    def _end(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != self._process:  # a copy of this process by fork: its end is no end of the run
            os.kill(os.getpid(), number)
            return
        self.came = True
        raise KeyboardInterrupt("SIGTERM")
