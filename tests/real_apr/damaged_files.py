"""One APR file of a random Llama, damaged in one place each: most with both checksums made right again."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_layout import CODES, reseal
from tests.formats.apr_builder import Row, apr_bytes

NORM: Final = "model.layers.1.input_layernorm.weight"
MATRIX: Final = "model.layers.0.mlp.up_proj.weight"


class Base:
    """The sound file: `data`, its rows and its metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        with AprFile(path) as file:
            self.header = file.header
            self.metadata: dict[str, Any] = json.loads(file.metadata_bytes)
            entries = file.entries.values()
            self.rows = [Row(e.name, CODES[e.dtype], e.shape, file.raw(e.name).tobytes()) for e in entries]
            self.offsets = {e.name: e.offset for e in entries}

    def patched(self, at: int, new: bytes, *, seal: bool = True) -> bytes:
        changed = bytearray(self.data)
        changed[at : at + len(new)] = new
        return reseal(changed) if seal else bytes(changed)

    def with_rows(self, rows: list[Row]) -> bytes:
        return apr_bytes(rows, json.dumps(self.metadata, separators=(",", ":")).encode(), self.header.flags)

    def with_metadata(self, **values: Any) -> bytes:
        text = json.dumps({**self.metadata, **values}, separators=(",", ":"))
        return apr_bytes(self.rows, text.encode(), self.header.flags)

    def tensor(self, name: str, change: Callable[[np.ndarray], None]) -> bytes:
        """The file with CHANGE done to the float32 values of tensor NAME."""
        raw = next(row.data for row in self.rows if row.name == name)
        values = np.frombuffer(raw, "<f4").copy()
        change(values)
        return self.patched(self.offsets[name], values.tobytes())


def _set(index: int | slice, value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[index] = value

    return change


#: name of the damage -> what it does to the sound file
DAMAGES: Final[dict[str, Callable[[Base], bytes]]] = {
    "flipped-data-bit": lambda b: b.patched(b.offsets[MATRIX], bytes([b.data[b.offsets[MATRIX]] ^ 0x40]), seal=False),
    "flipped-header-bit": lambda b: b.patched(5, b"\x01", seal=False),
    "flipped-magic": lambda b: b.patched(0, b"@", seal=False),
    "half-a-file": lambda b: b.data[: len(b.data) // 2],
    "forty-bytes": lambda b: b.data[:40],
    "no-bytes": lambda b: b"",
    "cut-in-the-last-tensor": lambda b: b.data[:-20],
    "no-footer": lambda b: b.data[:-4],
    "wrong-footer": lambda b: b.data[:-4] + bytes(4),
    "bytes-after-the-footer": lambda b: b.data + bytes(64),
    "bytes-in-the-padding": lambda b: b.patched(b.header.data_offset - 1, b"x"),
    "column-major": lambda b: b.patched(6, struct.pack("<H", b.header.flags | 0x0800)),
    "encrypted": lambda b: b.patched(6, struct.pack("<H", b.header.flags | 0x0004)),
    "compressed": lambda b: b.patched(6, struct.pack("<H", b.header.flags | 0x0001)),
    "unsorted-index": lambda b: b.with_rows(b.rows[::-1]),
    "repeated-name": lambda b: b.with_rows(sorted([*b.rows, b.rows[3]])),
    "alias-beside-canonical": lambda b: b.with_metadata(n_layers=b.metadata["num_layers"]),
    "float-for-an-integer": lambda b: b.with_metadata(hidden_size=float(b.metadata["hidden_size"])),
    "interleaved-rotary": lambda b: b.with_metadata(rope_type=0),
    "other-rotary-base": lambda b: b.with_metadata(rope_theta=1000000.0),
    "nan": lambda b: b.tensor(MATRIX, _set(7, np.nan)),
    "zeroed-norm": lambda b: b.tensor(NORM, _set(slice(None), 0.0)),
    "one-row-scaled": lambda b: b.tensor(MATRIX, lambda v: v.__imul__(np.where(np.arange(v.size) < 96, 1.5, 1.0))),
}


def make_damaged(base: Path, folder: Path) -> dict[str, str]:
    """Write BASE damaged in each way below FOLDER; file name -> what was done."""
    sound = Base(base)
    for name, damage in DAMAGES.items():
        (folder / f"{name}.apr").write_bytes(damage(sound))
    return {f"{name}.apr": name.replace("-", " ") for name in DAMAGES}
