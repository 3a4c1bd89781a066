"""Damage to what a copied artifact says of its tensors' place, type and total size; the tensors' bytes stay whole."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import (
    INDEX_NAME,
    is_apr,
    read_contents,
    seal,
    stored_name,
    weight_file,
    write_contents,
)
from pytest_aprqa.formats.opening import open_tensor_file

Operation = Callable[[Path], None]
FOOTER_BYTES = 4
SHIFT = 4  # bytes: enough to miss every alignment, and whole values of most types


def misalign_last_tensor(path: Path) -> None:
    """Store the last tensor of an APR or GGUF file four bytes later, and say so: its bytes are read as before."""
    with open_tensor_file(path) as file:
        last = max(file.entries.values(), key=lambda entry: entry.offset)
    position, _ = _fields_after_shape(path, last.name)
    data = bytearray(path.read_bytes())
    at = position if is_apr(path) else position + 4  # a GGUF entry has its type there, an APR entry before the shape
    (offset,) = struct.unpack_from("<Q", data, at)
    struct.pack_into("<Q", data, at, offset + SHIFT)
    data[last.offset : last.offset] = bytes(SHIFT)
    path.write_bytes(data)
    seal(path)


def declare_type(name: str, code: int) -> Operation:
    """Write another type code into the entry of one tensor of an APR or GGUF file; its bytes stay."""

    def apply(path: Path) -> None:
        after, before = _fields_after_shape(path, stored_name(path, name))
        data = bytearray(path.read_bytes())
        if is_apr(path):
            data[before] = code
        else:
            struct.pack_into("<I", data, after, code)
        path.write_bytes(data)
        seal(path)

    return apply


def lose_footer(path: Path) -> None:
    """Take the checksum off the end of an APR file; every tensor is still there."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - FOOTER_BYTES)


def split_in_shards(folder: Path) -> list[Path]:
    """Store the model of a folder as two shards with an index, in place of its one weight file; the shards."""
    target = weight_file(folder)
    if (folder / INDEX_NAME).is_file():
        raise DefectNotApplicableError(folder, INDEX_NAME, "the model has shards already")
    contents = read_contents(target)
    names = list(contents.tensors)
    half = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    size = sum(len(tensor.data) for tensor in contents.tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    target.unlink()
    for shard, members in shards.items():
        write_contents(folder / shard, replace(contents, tensors={name: contents.tensors[name] for name in members}))
    return [folder / shard for shard in shards]


def count_files_as_tensors(folder: Path) -> None:
    """Give the index of a model (made of shards first where it is one file) the size of the files as the tensors'."""
    if not (folder / INDEX_NAME).is_file():
        split_in_shards(folder)
    index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    shards = {folder / name for name in index["weight_map"].values()}
    index["metadata"] = {"total_size": sum(shard.stat().st_size for shard in shards)}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _fields_after_shape(path: Path, name: str) -> tuple[int, int]:
    """Offset of what follows the shape in the entry of tensor NAME, and of what follows its name."""
    with open_tensor_file(path) as file:
        dimensions = len(file.entries[name].shape)
    raw = name.encode("utf-8")
    apr = is_apr(path)
    found = path.read_bytes().find(struct.pack("<H" if apr else "<Q", len(raw)) + raw)
    if found < 0:
        raise DefectNotApplicableError(path, name, "its entry is not in the first file")
    before = found + (2 if apr else 8) + len(raw)
    return before + (2 if apr else 4) + 8 * dimensions, before
