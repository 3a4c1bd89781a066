"""A bar, or seconds, on standard error for work that may take over two; nothing where that is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AFTER_SECONDS = 0.5  # shorter work shows no bar
EVERY_SECONDS = 0.1
WIDTH = 24
CLEAR = "\r\x1b[K"


@contextmanager
def bar(label: str, total: int, *, silent: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how much of TOTAL is done. The bar goes when the work ends, also by an error."""
    if silent or not sys.stderr.isatty():
        yield lambda done: None
        return
    next_at = time.monotonic() + AFTER_SECONDS
    drawn = False

    def tell(done: int) -> None:
        nonlocal next_at, drawn
        now = time.monotonic()
        if now < next_at:
            return
        next_at, drawn = now + EVERY_SECONDS, True
        share = min(1.0, done / total) if total > 0 else 1.0
        filled = int(share * WIDTH)
        sys.stderr.write(f"{CLEAR}{label} [{'#' * filled}{'.' * (WIDTH - filled)}] {share:4.0%}")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if drawn:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()


@contextmanager
def working(label: str, *, silent: bool = False) -> Iterator[None]:
    """The seconds that have gone, for work of unknown length. Nothing else may be printed meanwhile."""
    if silent or not sys.stderr.isatty():
        yield
        return
    stream, started, ended = sys.stderr, time.monotonic(), threading.Event()

    def draw() -> None:
        wait, drawn = AFTER_SECONDS, False
        while not ended.wait(wait):
            stream.write(f"{CLEAR}{label} ... {time.monotonic() - started:.0f} s")
            stream.flush()
            wait, drawn = EVERY_SECONDS, True
        if drawn:
            stream.write(CLEAR)
            stream.flush()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
