"""Pytest plugin of `aprqa check`: tells the calling process, line by line in JSON, which item runs and how it ended."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

TELLER_NAME = "aprqa-check-events"  # of the plugin, where somebody listens
EVENTS_VARIABLE = "APRQA_CHECK_EVENTS"  # number of the file descriptor to write to
_POLL_SECONDS = 0.3


def pytest_configure(config: pytest.Config) -> None:
    """Register the teller when the calling process listens; its folder of evidence is deleted after it was read."""
    number = os.environ.get(EVENTS_VARIABLE)
    if number:
        from pytest_aprqa.models.artifact import identify_by_state

        identify_by_state()
        config.pluginmanager.register(_Teller(config, int(number)), TELLER_NAME)


class _Teller:
    def __init__(self, config: pytest.Config, descriptor: int) -> None:
        self._config = config
        self._descriptor = descriptor
        self._stop = threading.Event()
        self._last = ""

    def _say(self, **event: Any) -> None:
        try:
            os.write(self._descriptor, (json.dumps(event) + "\n").encode())
        except OSError:
            self._stop.set()  # nobody listens any more

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The number of items; from now on, what the run says it is doing."""
        self._say(event="collected", items=len(session.items))
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        from pytest_aprqa.run_state import RUN_STATE

        shared = self._config.stash[RUN_STATE].shared
        while shared is not None and not self._stop.wait(_POLL_SECONDS):
            try:
                text = (shared / "main.progress").read_text(encoding="utf-8")
            except OSError:
                continue
            if text != self._last:
                self._last = text
                self._say(event="progress", text=text)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """An item begins."""
        self._say(event="started", node=nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """An item has ended."""
        self._say(event="finished", node=nodeid)

    def pytest_sessionfinish(self) -> None:
        """No more is told."""
        self._stop.set()
