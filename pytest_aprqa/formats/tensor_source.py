"""What the three writers accept as the bytes of a tensor: bytes, an array, or a function that makes them when needed.

A function keeps memory bounded: a conversion of a large model holds one tensor at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.blocks import BLOCKS, tensor_nbytes
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.tensor_checks import check_tensor_name, checked_count

Payload = bytes | bytearray | memoryview | NDArray[np.generic]
TensorSource = Payload | Callable[[], Payload]


def expected_nbytes(
    path: str | os.PathLike[str], name: str, dtype: str, shape: Sequence[int], max_name_bytes: int
) -> int:
    """Bytes that tensor NAME must have; FormatError for an unsafe name, an unknown type or a bad shape."""
    where = f"tensor {name!r}"
    check_tensor_name(path, where, name, max_name_bytes)
    if dtype not in BLOCKS and dtype != "APR_Q8":
        raise FormatError(path, where, "unknown tensor type", found=dtype)
    if any(size < 0 for size in shape):
        raise FormatError(path, where, "negative size in shape", found=list(shape))
    checked_count(path, where, shape)
    return tensor_nbytes(dtype, shape)


def payload_of(path: str | os.PathLike[str], name: str, source: TensorSource, nbytes: int) -> memoryview:
    """The bytes of tensor NAME as a flat view; FormatError when they are not exactly NBYTES."""
    given = source() if callable(source) else source
    if isinstance(given, np.ndarray):
        # Little endian on disk, whatever the machine: numpy converts where the two differ.
        given = np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    view = memoryview(given.data if isinstance(given, np.ndarray) else given).cast("B")
    if view.nbytes != nbytes:
        raise FormatError(path, f"tensor {name!r}", "wrong number of bytes", found=view.nbytes, limit=nbytes)
    return view
