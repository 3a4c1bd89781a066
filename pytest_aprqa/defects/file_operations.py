"""Damage to whole files of a copied artifact: bits, length, absence, replacement by something that is no model."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.index_operations import split_in_shards
from pytest_aprqa.defects.stored_tensors import INDEX_NAME, seal, weight_file
from pytest_aprqa.formats.opening import open_tensor_file

Operation = Callable[[Path], None]

GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 3087467144\n" % (b"0" * 64)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head><body>Access denied</body></html>\n"


def flip_bit(offset: int, bit: int = 0) -> Operation:
    """Flip one bit of the first weight file at byte `offset`; a negative offset counts from the end."""

    def apply(path: Path) -> None:
        target = weight_file(path)
        position = offset if offset >= 0 else target.stat().st_size + offset
        _flip(target, position, bit)

    return apply


def flip_bit_in_data(bit: int = 0) -> Operation:
    """Flip one bit in the middle of the tensor in the middle of the file, leaving every checksum as it was."""

    def apply(path: Path) -> None:
        target = weight_file(path)
        with open_tensor_file(target) as file:
            entries = list(file.entries.values())
        entry = entries[len(entries) // 2]
        _flip(target, entry.offset + entry.nbytes // 2, bit)

    return apply


def truncate(fraction: float) -> Operation:
    """Keep only the first `fraction` of the bytes of the first weight file, as a broken download does."""

    def apply(path: Path) -> None:
        target = weight_file(path)
        with target.open("r+b") as stream:
            stream.truncate(int(target.stat().st_size * fraction))

    return apply


def overwrite(offset: int, data: bytes) -> Operation:
    """Write `data` at byte `offset` of the first weight file."""

    def apply(path: Path) -> None:
        with weight_file(path).open("r+b") as stream:
            stream.seek(offset)
            stream.write(data)

    return apply


def replace_weights(content: bytes) -> Operation:
    """Put `content` in the place of the first weight file."""
    return lambda path: _write(weight_file(path), content)


def remove(name: str) -> Operation:
    """Delete a companion file of a model folder."""

    def apply(folder: Path) -> None:
        _companion(folder, name).unlink()

    return apply


def split_and_lose_a_shard(folder: Path) -> None:
    """Store the model as two shards with an index, then delete the second shard; of shards, the first."""
    (weight_file(folder) if (folder / INDEX_NAME).is_file() else split_in_shards(folder)[1]).unlink()


def leave_stale_index(folder: Path) -> None:
    """Rename the single weight file to a shard, beside an index that names the shards of an earlier upload."""
    target = weight_file(folder)
    if (folder / INDEX_NAME).is_file():
        raise DefectNotApplicableError(folder, INDEX_NAME, "the model has a right index")
    with open_tensor_file(target) as file:
        names = list(file.entries)
        size = sum(entry.nbytes for entry in file.entries.values())
    shards = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    weight_map = {name: shards[number * 3 // len(names)] for number, name in enumerate(names)}
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    target.rename(folder / "model-00001-of-00001.safetensors")


def grow_safetensors_header(folder: Path) -> None:
    """Declare a header of 1 TiB: readers that believe it run out of memory."""
    overwrite(0, struct.pack("<Q", 1 << 40))(folder)


def declare_column_major(path: Path) -> None:
    """Set the forbidden column-major bit (11) of an APR header, with a right header sum and footer."""
    head = bytearray(path.read_bytes()[:64])
    head[7] |= 0x08
    head[40:44] = zlib.crc32(bytes(head[:40] + head[44:])).to_bytes(4, "little")
    overwrite(0, bytes(head))(path)
    seal(path)


def _flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(position)
        value = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([value ^ (1 << bit)]))


def _companion(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise DefectNotApplicableError(folder, name, "the model has no such file")
    return path


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
