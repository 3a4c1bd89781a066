"""APR v2 files from raw index rows, with right checksums and no rule applied: for files that no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_aprqa.formats.apr_layout import align64, pack_header, reseal


class Row(NamedTuple):
    """One index entry as stored. `size` defaults to the length of `data`; data is laid out in the given order."""

    name: str
    code: int
    shape: Sequence[int]
    data: bytes
    size: int | None = None


def apr_bytes(rows: Sequence[Row], metadata: bytes = b'{"model_type":"t"}', flags: int = 0x0400) -> bytes:
    """A whole file: header, METADATA as given, index in the order of ROWS, padded data, footer."""
    index, body = b"", b""
    for row in rows:
        name = row.name.encode()
        size = len(row.data) if row.size is None else row.size
        index += struct.pack("<H", len(name)) + name + struct.pack("<BB", row.code, len(row.shape))
        index += struct.pack(f"<{len(row.shape)}QQQ", *row.shape, len(body), size)
        body += row.data + bytes(align64(len(row.data)) - len(row.data))
    index_at = 64 + align64(len(metadata))
    data_at = index_at + align64(len(index))
    start = pack_header(flags, len(rows), len(metadata), index_at, data_at)
    start += metadata.ljust(index_at - 64, b"\0") + index.ljust(data_at - index_at, b"\0")
    return reseal(start + body + bytes(4))


def saved(folder: Path, data: bytes) -> Path:
    """DATA in a file of FOLDER."""
    path = folder / "x.apr"
    path.write_bytes(data)
    return path
