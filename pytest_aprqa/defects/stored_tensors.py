"""Find, change and rewrite the tensors of a copied artifact: a SafeTensors folder, an APR file or a GGUF file."""

from __future__ import annotations

import copy
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.apr_writer import write_apr
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.formats.tensor_file import TensorFile

Floats = NDArray[np.float32]
INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as the file holds it: type name, row-major shape, raw bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def values(self) -> Floats:
        """Decoded float32 array of `shape`."""
        return codecs.decode(self.dtype, np.frombuffer(self.data, dtype=np.uint8), self.shape)

    def with_values(self, values: Floats) -> StoredTensor:
        """The same type with other values (and their shape)."""
        return replace(self, shape=tuple(values.shape), data=bytes(codecs.encode(self.dtype, values)))


Tensors = dict[str, StoredTensor]


@dataclass(slots=True)
class Contents:
    """One weight file in memory: `metadata` as its reader gives it, `value_types` of GGUF keys (else empty)."""

    format: str
    metadata: dict[str, Any]
    value_types: dict[str, str]
    tensors: Tensors


def weight_file(path: Path, name: str | None = None) -> Path:
    """The file on disk that holds tensor `name` (the first weight file for None); `path` itself unless a folder."""
    if not path.is_dir():
        return path
    with open_tensor_file(path) as file:
        files = list(file.files)
    for candidate in files:
        with open_tensor_file(candidate) as file:
            if name is None or name in file.entries:
                return candidate
    raise DefectNotApplicableError(path, str(name), "no weight file holds this tensor")


def layer_count(path: Path) -> int:
    """Number of layers that the tensor names show."""
    with open_tensor_file(path) as file:
        found = [re.search(r"(?:layers|blk)\.(\d+)\.", name) for name in file.entries]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def stored_name(path: Path, hf_name: str) -> str:
    """The file's own name of the tensor with this Hugging Face name; DefectNotApplicableError when it has none."""
    with open_tensor_file(path) as file:
        if hf_name in file.entries:
            return hf_name
        other = gguf_name(hf_name, _architecture(file))
        if other is not None and other in file.entries:
            return other
    raise DefectNotApplicableError(path, hf_name, "the model has no such tensor")


def change_values(path: Path, hf_name: str, change: Callable[[Floats], Floats]) -> None:
    """Replace the values of one tensor in place, in its own type; every other byte stays (APR: but the footer sum)."""
    name = stored_name(path, hf_name)
    target = weight_file(path, name)
    with open_tensor_file(target) as file:
        entry, values = file.entries[name], file.read(name).copy()
    data = bytes(codecs.encode(entry.dtype, change(values).reshape(entry.shape)))
    with target.open("r+b") as stream:
        stream.seek(entry.offset)
        stream.write(data[: entry.nbytes])
    seal(target)


def change_tensors(path: Path, change: Callable[[Tensors], Tensors], *, holding: str | None = None) -> None:
    """Rewrite one weight file with other tensors (dropped, renamed, reshaped, ...); the rest stays equal."""
    target = weight_file(path, holding)
    contents = read_contents(target)
    before = set(contents.tensors)
    contents.tensors = change(dict(contents.tensors))
    write_contents(target, contents)
    if path.is_dir():
        _update_index(path, target, before, set(contents.tensors))


def read_contents(path: Path) -> Contents:
    """Everything in one healthy weight file."""
    with open_tensor_file(path) as file:
        tensors = {
            name: StoredTensor(entry.dtype, entry.shape, file.raw(name).tobytes())
            for name, entry in file.entries.items()
        }
        types = file.value_types if isinstance(file, GgufFile) else {}
        return Contents(file.format, copy.deepcopy(dict(file.metadata)), dict(types), tensors)


def write_contents(path: Path, contents: Contents) -> None:
    """Write `contents` as one file of its format, in place of whatever is there."""
    rows = [(name, tensor.dtype, tensor.shape, tensor.data) for name, tensor in contents.tensors.items()]
    metadata = contents.metadata
    if contents.format == "safetensors":
        write_safetensors(path, {name: (kind, shape, data) for name, kind, shape, data in rows}, metadata or None)
    elif contents.format == "apr":
        write_apr(path, metadata, sorted(rows, key=lambda row: row[0].encode()))
    else:
        typed = [(key, value, contents.value_types[key]) for key, value in metadata.items()]
        write_gguf(path, str(metadata["general.architecture"]), typed, rows)


def seal(path: Path) -> None:
    """Recompute the footer sum of an APR file, so that the seeded defect and not its checksum is what gets noticed."""
    if not is_apr(path):
        return
    data = path.read_bytes()
    with path.open("r+b") as stream:
        stream.seek(len(data) - 4)
        stream.write(zlib.crc32(data[:-4]).to_bytes(4, "little"))


def is_apr(path: Path) -> bool:
    """Whether the file at `path` begins as an APR v2 file does."""
    with path.open("rb") as stream:
        return stream.read(4) == b"APR\0"


def _architecture(file: TensorFile) -> str:
    keys = ("general.architecture", "architecture", "hf_model_type")
    return next((str(file.metadata[key]) for key in keys if file.metadata.get(key)), "llama")


def _update_index(folder: Path, shard: Path, before: set[str], after: set[str]) -> None:
    index = folder / INDEX_NAME
    if not index.is_file():
        return
    document = json.loads(index.read_text(encoding="utf-8"))
    weight_map = document["weight_map"]
    for name in before - after:
        weight_map.pop(name, None)
    weight_map.update(dict.fromkeys(sorted(after - before), shard.name))
    index.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
