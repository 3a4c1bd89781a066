"""Copies of a model file that are another model, or damaged: what a program must refuse, to show that it can."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_aprqa.formats.opening import open_tensor_file

LARGEST = 2 << 30  # bytes of a file that is copied for a test of a tool
EXPONENT_BIT = 0x10
HEADER_BIT = (20, 0x08)  # offset and bit, of an APR header: in the size of its metadata


def other_values(model: Path, folder: Path) -> Path:
    """A copy in FOLDER with the same tensors and other values: one bit of every fourth byte of the data is flipped.

    In F32 that bit multiplies or divides by a power of two, in other types it changes the value as well. ValueError:
    the file is too large to be copied; FormatError: it cannot be read.
    """
    import numpy as np

    start, stop = _data_of(model)
    copy = _copied(model, folder / f"other-values{model.suffix}")
    with copy.open("r+b") as stream:
        stream.seek(start)
        values = np.frombuffer(bytearray(stream.read(stop - start)), np.uint8)
        values[3::4] ^= EXPONENT_BIT
        stream.seek(start)
        stream.write(values.tobytes())
    return copy


def flipped_data_bit(model: Path, folder: Path) -> Path:
    """A copy in FOLDER with one bit of its tensor data flipped: in the middle, the highest bit of a byte."""
    start, stop = _data_of(model)
    return _flipped(model, folder / f"flipped-data-bit{model.suffix}", (start + stop) // 2, 0x80)


def flipped_header_bit(model: Path, folder: Path) -> Path:
    """A copy of an APR file in FOLDER with one bit of its header flipped."""
    return _flipped(model, folder / f"flipped-header-bit{model.suffix}", *HEADER_BIT)


def half_file(model: Path, folder: Path) -> Path:
    """The first half of the file, in FOLDER."""
    copy = _copied(model, folder / f"half-file{model.suffix}")
    with copy.open("r+b") as stream:
        stream.truncate(model.stat().st_size // 2)
    return copy


def _flipped(model: Path, copy: Path, offset: int, bit: int) -> Path:
    _copied(model, copy)
    with copy.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ bit]))
    return copy


def _copied(model: Path, copy: Path) -> Path:
    size = model.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{model.name}: {size} bytes, limit {LARGEST}: a file of this size is not copied for a test")
    shutil.copyfile(model, copy)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (model.parent / name).is_file():
            shutil.copyfile(model.parent / name, copy.parent / name)
    return copy


def _data_of(model: Path) -> tuple[int, int]:
    """First and last offset of tensor data, in bytes. ValueError: the file has none."""
    with open_tensor_file(model, strict=False) as file:
        entries = [entry for entry in file.entries.values() if entry.nbytes]
    if not entries:
        raise ValueError(f"{model.name}: no tensor data")
    return min(e.offset for e in entries), max(e.offset + e.nbytes for e in entries)
