"""What glibc's allocator keeps of freed memory: as little as possible, so that a peak is what an engine needs."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

LARGE = 4 << 20  # bytes from which a block is given back to the system when it is freed
M_MMAP_THRESHOLD = -3  # malloc.h


def give_large_blocks_back() -> bool:
    """From now on large blocks leave the process when freed; by default glibc raises the bound up to 32 MiB.

    False where the allocator is another one: nothing is changed.
    """
    library = _glibc()
    return library is not None and bool(library.mallopt(M_MMAP_THRESHOLD, LARGE))


def give_free_memory_back() -> None:
    """Return the free pages of the heap to the system: loading a model leaves many."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
