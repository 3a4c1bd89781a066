"""A bar on standard error for work that may take over two seconds; nothing at all where that is no terminal."""

from __future__ import annotations

import sys
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
