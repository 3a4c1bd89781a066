"""Bytes of files asked from the disk before they are needed, so that it works while a program starts or computes.

A hint to the system's cache of files: no memory of the process, no error, nothing where the system takes no hints.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

Part = tuple[Path, int, int]  # file, offset, bytes

PIECE: Final = 8 << 20  # bytes of one request: short enough to stop soon, long enough to keep a disk busy
UNDER_WAY: Final = 4  # requests at once: who reads something else meanwhile waits for these, not for all
_WAIT: Final = 1.0  # seconds for the last request when it stops


class ReadAhead:
    """Ask for PARTS in their order, never more than WINDOW bytes beyond what `used` has told. A context manager."""

    def __init__(self, parts: Iterable[Part], window: int) -> None:
        self._parts, self._window = parts, window
        self._used = self._asked = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._ask_for_all, name="read-ahead", daemon=True)

    @property
    def asked(self) -> int:
        """Bytes asked for until now."""
        return self._asked

    def used(self, size: int) -> None:
        """Tell that SIZE bytes were needed: as many more may be asked for."""
        with self._changed:
            self._used += size
            self._changed.notify()

    def __enter__(self) -> Self:
        if hasattr(os, "posix_fadvise"):
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(_WAIT)

    def _ask_for_all(self) -> None:
        opened: dict[Path, int | None] = {}
        under_way: deque[tuple[int, int]] = deque()
        try:
            for path, start, size in self._parts:
                if path not in opened:
                    opened[path] = _opened(path)
                descriptor = opened[path]
                for at in range(start, start + size, PIECE):
                    piece = min(PIECE, start + size - at)
                    if not self._may_ask(piece):
                        return
                    if descriptor is None:
                        continue
                    if len(under_way) == UNDER_WAY:
                        os.pread(under_way[0][0], 1, under_way.popleft()[1])  # until it has been read
                    os.posix_fadvise(descriptor, at, piece, os.POSIX_FADV_WILLNEED)
                    under_way.append((descriptor, at + piece - 1))
        except OSError:
            return  # who needs the bytes will say what is wrong
        finally:
            for descriptor in opened.values():
                if descriptor is not None:
                    os.close(descriptor)

    def _may_ask(self, size: int) -> bool:
        """Wait until SIZE more bytes fit into the window; False: stopped."""
        with self._changed:
            while not self._stopped and self._asked and self._asked + size > self._used + self._window:
                self._changed.wait()
            self._asked += size
            return not self._stopped


def side_by_side(files: Sequence[Path]) -> Iterator[Part]:
    """The files from start to end at once, each at a speed by its size: who compares them needs them so."""
    sizes = {path: path.stat().st_size for path in files}
    steps = -(-max(sizes.values(), default=0) // PIECE)
    for step in range(steps):
        for path, size in sizes.items():
            start, stop = size * step // steps, size * (step + 1) // steps
            yield path, start, stop - start


def _opened(path: Path) -> int | None:
    """A descriptor of a regular file; None of anything else: reading ahead of a pipe would wait for its writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
