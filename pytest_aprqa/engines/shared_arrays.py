"""Float32 arrays from the child to the parent: through memory that both have open, else as text in the answer."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any

TEXT_UP_TO = 1 << 14  # bytes that travel in the answer itself


def open_memory() -> int | None:
    """A descriptor of anonymous memory for `pass_fds`, nothing on a disk; None where the system has no such thing."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        return os.memfd_create("aprqa-arrays")
    except OSError:
        return None


class ArrayWriter:
    """The child's side: the arrays of one answer lie one after the other from the beginning of the memory."""

    def __init__(self, memory: int | None) -> None:
        self._memory = memory
        self._mapped: mmap.mmap | None = None  # kept: pages that are mapped anew are paid for again
        self._position = 0

    def begin(self) -> None:
        """The next answer: the arrays of the one before are written over."""
        self._position = 0

    def packed(self, values: Any) -> dict[str, Any]:
        """A float32 array as JSON: shape, and where its little-endian bytes lie or the bytes themselves."""
        import numpy

        array = numpy.ascontiguousarray(values, dtype="<f4")
        if self._memory is not None and array.nbytes > TEXT_UP_TO:
            offset, self._position = self._position, self._position + array.nbytes
            there = numpy.frombuffer(self._room(self._memory), "<f4", array.size, offset)
            there.reshape(array.shape)[...] = array
            return {"shape": list(array.shape), "offset": offset}
        import base64

        return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}

    def _room(self, memory: int) -> mmap.mmap:
        """The memory up to the present position."""
        if self._mapped is None or len(self._mapped) < self._position:
            os.ftruncate(memory, self._position)
            self._mapped = mmap.mmap(memory, self._position)
        return self._mapped


class ArrayReader:
    """The parent's side of the same memory."""

    def __init__(self, memory: int | None) -> None:
        self._memory = memory
        self._mapped: mmap.mmap | None = None

    def unpacked(self, packed: dict[str, Any], *, lasting: bool = True) -> Any:
        """A copy, so that the next answer may use the memory again; not `lasting`: the memory itself, read-only, until
        the next answer. ValueError: the bytes are short."""
        import numpy

        shape = packed["shape"]
        if "offset" not in packed:
            import base64

            return numpy.frombuffer(base64.b64decode(packed["data"]), dtype="<f4").reshape(shape).copy()
        count, offset = math.prod(shape), packed["offset"]
        missing = offset + 4 * count - (0 if self._memory is None else os.fstat(self._memory).st_size)
        if self._memory is None or missing > 0:
            raise ValueError(f"the engine's array of shape {shape} is cut short by {missing} bytes")
        array = numpy.frombuffer(self._room(self._memory, offset + 4 * count), "<f4", count, offset).reshape(shape)
        return array.copy() if lasting else array

    def _room(self, memory: int, needed: int) -> mmap.mmap:
        if self._mapped is None or len(self._mapped) < needed:
            self._mapped = mmap.mmap(memory, 0, access=mmap.ACCESS_READ)
        return self._mapped
