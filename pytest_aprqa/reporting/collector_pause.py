"""Reports make many objects and no cycles: the collector would walk over all the evidence again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Hold Python's cycle collector back, as a block or a decorator; it runs again after it, if it ran before."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
