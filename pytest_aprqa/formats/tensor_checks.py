"""Checks that every format shares: tensor names that are safe to print and to map, shapes whose product cannot wrap."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pytest_aprqa.formats.blocks import MAX_ELEMENTS
from pytest_aprqa.formats.errors import FormatError


def check_tensor_name(path: str | os.PathLike[str], where: str, name: str, max_bytes: int) -> None:
    """FormatError unless NAME is 1..MAX_BYTES bytes of printable UTF-8 that cannot be taken for a file path."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise FormatError(path, where, "tensor name is not valid Unicode", found=name) from None
    if not 1 <= size <= max_bytes:
        raise FormatError(path, where, "tensor name has a bad length in bytes", found=size, limit=f"1..{max_bytes}")
    if not name.isprintable():
        raise FormatError(path, where, "tensor name has control characters", found=name)
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        advice = "a tensor name must not be a file path; do not unpack this file with other tools"
        raise FormatError(path, where, "tensor name looks like a path", found=name, advice=advice)


def checked_count(path: str | os.PathLike[str], where: str, shape: Sequence[int]) -> int:
    """Element count of SHAPE; FormatError when a partial product of the non-zero sizes exceeds 2^63 - 1."""
    product, zero = 1, False
    for size in shape:
        if size == 0:
            zero = True
            continue
        product *= size
        if product > MAX_ELEMENTS:
            found = "x".join(str(n) for n in shape)
            raise FormatError(path, where, "shape overflows", found=found, limit="2^63 - 1 elements")
    return 0 if zero else product
