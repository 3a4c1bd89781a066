"""Float32 arrays from the child to the parent: through memory that both have open, else as text in the answer."""

from __future__ import annotations

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
    """The child's side for one answer: its arrays lie one after the other from the beginning of the memory."""

    def __init__(self, memory: int | None) -> None:
        self._memory = memory
        self._position = 0

    def packed(self, values: Any) -> dict[str, Any]:
        """A float32 array as JSON: shape, and where its little-endian bytes lie or the bytes themselves."""
        import numpy

        array = numpy.ascontiguousarray(values, dtype="<f4")
        if self._memory is not None and array.nbytes > TEXT_UP_TO:
            offset = self._position
            data = memoryview(array.data).cast("B")
            while data:
                written = os.pwrite(self._memory, data, self._position)
                self._position += written
                data = data[written:]
            return {"shape": list(array.shape), "offset": offset}
        import base64

        return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def unpacked(packed: dict[str, Any], memory: int | None) -> Any:
    """The parent's side: a copy, so that the next answer may use the memory again. ValueError: the bytes are short."""
    import numpy

    if "offset" not in packed:
        import base64

        return numpy.frombuffer(base64.b64decode(packed["data"]), dtype="<f4").reshape(packed["shape"]).copy()
    array = numpy.empty(packed["shape"], dtype="<f4")
    data, position = memoryview(array.data).cast("B"), packed["offset"]
    while data:
        read = os.preadv(memory, [data], position) if memory is not None else 0
        if not read:
            raise ValueError(f"the engine's array of shape {packed['shape']} is cut short by {len(data)} bytes")
        position += read
        data = data[read:]
    return array
