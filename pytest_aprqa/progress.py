"""Shows what the workers are loading or generating, while they do it: a thread of the controller reads their notes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5
QUIET_SECONDS = 2.0  # the same worker is not shown more often than this


class ProgressBoard:
    """Prints `[aprqa gw0] gguf cpu: chat, 12 prompts` lines through the terminal reporter until stopped.

    Only where the reporter writes to a terminal: in a log they would stand between the letters of the tests.
    """

    def __init__(self, terminal: Any, shared: Path) -> None:
        self._terminal = terminal
        self._shared = shared
        self._shown: dict[str, tuple[str, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aprqa-progress", daemon=True)

    def start(self) -> None:
        """Begin to watch, on a terminal."""
        if self._terminal.isatty:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; nothing is printed after this returns."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        import time

        while not self._stopped.wait(POLL_SECONDS):
            for worker, text in self._notes():
                before, when = self._shown.get(worker, ("", -QUIET_SECONDS))
                now = time.monotonic()
                if text != before and now - when >= QUIET_SECONDS:
                    self._shown[worker] = (text, now)
                    self._terminal.ensure_newline()
                    self._terminal.write_line(f"[aprqa {worker}] {text}", cyan=True)

    def _notes(self) -> list[tuple[str, str]]:
        try:
            files = sorted(self._shared.glob("*.progress"))
            return [(f.stem, f.read_text(encoding="utf-8", errors="replace")) for f in files if f.stem[0] != "."]
        except OSError:
            return []
