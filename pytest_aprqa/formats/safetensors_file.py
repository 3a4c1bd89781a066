"""SafeTensors: one file, or the shards that a `*.safetensors.index.json` names. Strict reader, deterministic writer.

The rules are those of the format's reference (header at most 100 MB, no holes, no overlap), plus unique JSON keys.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_aprqa.formats.atomic_file import replaced_atomically
from pytest_aprqa.formats.blocks import BLOCKS, QUANTISED, element_count, tensor_nbytes
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.json_text import parse_json_object
from pytest_aprqa.formats.tensor_checks import check_tensor_name, checked_count
from pytest_aprqa.formats.tensor_file import MappedFile, TensorEntry, TensorFile
from pytest_aprqa.formats.tensor_source import TensorSource, expected_nbytes, payload_of

MAX_HEADER_BYTES: Final = 100_000_000
MAX_INDEX_BYTES: Final = 100_000_000
MAX_NAME_BYTES: Final = 1024
INDEX_NAME: Final = "model.safetensors.index.json"

#: several elements share a byte: only whole bytes can be stored
_PACKED: Final = frozenset({"F4", "F6_E2M3", "F6_E3M2"})
_DTYPES: Final = (frozenset(BLOCKS) - QUANTISED) | _PACKED
_DOWNLOAD: Final = "the file is damaged or cut short: download it again"


class SafeTensorsFile(TensorFile):
    """Opens a `.safetensors` file, an index JSON, or a folder that holds either. `metadata` is `__metadata__`.

    Of a folder `model.safetensors` is taken before the index, as transformers does. FormatError: any broken rule.
    """

    format = "safetensors"

    def __init__(self, path: str | os.PathLike[str], *, strict: bool = True) -> None:
        super().__init__(path, strict=strict)
        target = self._target()
        try:
            if target.name.endswith(".json"):
                self._open_shards(target)
            else:
                self.metadata, self.entries = self._open_part(target)
        except BaseException:
            self.close()
            raise

    def _target(self) -> Path:
        """The file to open: the path itself, or the one that counts in a folder."""
        if not self.path.is_dir():
            return self.path
        single, index = self.path / "model.safetensors", self.path / INDEX_NAME
        if single.is_file():
            if index.is_file():
                self.warnings.append(f"{self.path}: both {single.name} and {index.name} exist; {single.name} is read")
            return single
        if index.is_file():
            return index
        others = sorted(self.path.glob("*.safetensors"))
        if len(others) == 1:
            return others[0]
        problem = "has no SafeTensors file" if not others else "has several SafeTensors files and no index"
        advice = f"expected model.safetensors or {INDEX_NAME}"
        raise FormatError(self.path, "folder", problem, found=len(others), advice=advice)

    def _open_part(self, path: Path) -> tuple[dict[str, str], dict[str, TensorEntry]]:
        """Map one file, add it to this reader and return its metadata and entries."""
        mapped = MappedFile(path)
        self._maps.append(mapped)
        self.files.append(path)
        header, start = _read_header(mapped)
        metadata = _read_metadata(path, header.pop("__metadata__", {}))
        fields = [_read_field(path, name, value) for name, value in header.items()]
        _check_coverage(path, fields, mapped.size - start)
        entries = {f.name: TensorEntry(f.name, f.dtype, f.shape, start + f.begin, f.end - f.begin) for f in fields}
        ordered = dict(sorted(entries.items(), key=lambda item: item[1].offset))
        for name in ordered:
            self._owners[name] = len(self._maps) - 1
        return metadata, ordered

    def _open_shards(self, index_path: Path) -> None:
        weight_map, total_size, self.metadata = _read_index(index_path)
        entries: dict[str, TensorEntry] = {}
        for shard in sorted(set(weight_map.values())):
            _, part = self._open_part(_shard_path(index_path, shard))
            wanted = {name for name, where in weight_map.items() if where == shard}
            for problem, names in (
                ("the index names a tensor that its shard lacks", wanted - part.keys()),
                ("the shard holds a tensor that the index does not place there", part.keys() - wanted),
            ):
                if names:
                    raise FormatError(self.files[-1], f"tensor {min(names)!r}", problem, advice=_DOWNLOAD)
            entries |= part
        self.entries = entries
        stored = sum(entry.nbytes for entry in entries.values())
        if total_size is not None and total_size != stored:
            line = f"metadata.total_size says {total_size} bytes, the shards hold {stored}"
            self.warnings.append(f"{index_path}: {line}")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _read_header(mapped: MappedFile) -> tuple[dict[str, Any], int]:
    """The header object and the offset of the data section."""
    path, data = mapped.path, mapped.data
    if mapped.size < 8:
        raise FormatError(path, "offset 0", "too short for a header", found=mapped.size, limit=8, advice=_DOWNLOAD)
    (length,) = struct.unpack_from("<Q", data)
    where = "offset 0, header length"
    if length > MAX_HEADER_BYTES:
        raise FormatError(path, where, "header is too long", found=length, limit=MAX_HEADER_BYTES)
    if length > mapped.size - 8:
        raise FormatError(
            path, where, "header runs past the end of the file", found=length, limit=mapped.size - 8, advice=_DOWNLOAD
        )
    text = bytes(data[8 : 8 + length])
    if not text.startswith(b"{"):
        raise FormatError(path, "offset 8, header", "header does not begin with {", found=text[:8])
    return parse_json_object(path, "offset 8, header", text), 8 + length


def _read_metadata(path: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError(path, "__metadata__", "must map strings to strings", found=type(value).__name__)
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _read_field(path: Path, name: str, value: Any) -> _Field:
    where = f"tensor {name!r}"
    check_tensor_name(path, where, name, MAX_NAME_BYTES)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise FormatError(path, where, "needs exactly dtype, shape and data_offsets", found=found)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(path, f"{where}.dtype", "unknown type", found=dtype, limit=", ".join(sorted(_DTYPES)))
    if not isinstance(shape, list) or not all(map(_is_count, shape)):
        raise FormatError(path, f"{where}.shape", "must be a list of non-negative integers below 2^63", found=shape)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise FormatError(path, f"{where}.data_offsets", "must be two non-negative integers", found=offsets)
    begin, end = offsets
    if end < begin:
        raise FormatError(path, f"{where}.data_offsets", "end lies before begin", found=offsets)
    _check_whole_bytes(path, name, dtype, checked_count(path, f"{where}.shape", shape))
    expected = tensor_nbytes(dtype, shape)
    if end - begin != expected:
        problem = f"{dtype} of shape {shape} takes {expected} bytes"
        raise FormatError(path, f"{where}.data_offsets", problem, found=end - begin, limit=expected)
    return _Field(name, dtype, tuple(shape), begin, end)


def _check_whole_bytes(path: Path, name: str, dtype: str, count: int) -> None:
    if dtype in _PACKED and count % BLOCKS[dtype][0]:
        problem = f"{dtype} elements do not fill whole bytes"
        limit = f"a multiple of {BLOCKS[dtype][0]}"
        raise FormatError(path, f"tensor {name!r}.shape", problem, found=count, limit=limit)


def _check_coverage(path: Path, fields: Sequence[_Field], size: int) -> None:
    """The tensors must tile the data section exactly: no hole, no overlap, nothing left, nothing missing."""
    position = 0
    for field in sorted(fields, key=lambda f: (f.begin, f.end)):
        if field.begin != position:
            problem = "overlaps the tensor before it" if field.begin < position else "leaves a hole before it"
            where = f"tensor {field.name!r}.data_offsets"
            raise FormatError(path, where, problem, found=field.begin, limit=position)
        position = field.end
    if position > size:
        raise FormatError(
            path, "data section", "is shorter than its tensors", found=size, limit=position, advice=_DOWNLOAD
        )
    if position < size:
        advice = "bytes that no tensor covers may hide content; write the file again"
        raise FormatError(
            path, "data section", "has bytes after the last tensor", found=size, limit=position, advice=advice
        )


def _read_index(path: Path) -> tuple[dict[str, str], int | None, dict[str, Any]]:
    """(tensor -> shard file name, total_size or None, the metadata object)."""
    mapped = MappedFile(path)
    if mapped.size > MAX_INDEX_BYTES:
        raise FormatError(path, "file", "index is too long", found=mapped.size, limit=MAX_INDEX_BYTES)
    document = parse_json_object(path, "index", bytes(mapped.data))
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(path, "weight_map", "must be an object with at least one tensor", advice=_DOWNLOAD)
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise FormatError(path, "metadata", "must be an object", found=type(metadata).__name__)
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_plain_name(shard):
            advice = "shards must lie beside the index, named without folders"
            raise FormatError(path, f"weight_map[{name!r}]", "is not a plain file name", found=shard, advice=advice)
    total = metadata.get("total_size")
    return weight_map, int(total) if isinstance(total, (int, float)) else None, metadata


def _is_plain_name(name: str) -> bool:
    return name.isprintable() and name not in ("", ".", "..") and not set(name) & {"/", "\\", ":"} and len(name) <= 255


def _shard_path(index_path: Path, shard: str) -> Path:
    path = index_path.parent / shard
    if not path.is_file():
        advice = f"download {shard}, or the whole model again"
        raise FormatError(index_path, "weight_map", "names a shard that does not exist", found=shard, advice=advice)
    return path


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, tuple[str, tuple[int, ...], TensorSource]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write PATH atomically from name -> (dtype, shape, bytes | array | function that makes them), in the given order.

    The header is padded with spaces to a multiple of 8. FormatError: bad name, type, shape or number of bytes.
    """
    target = Path(path)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    sizes: dict[str, int] = {}
    position = 0
    for name, (dtype, shape, _) in tensors.items():
        if dtype not in _DTYPES or name == "__metadata__":
            raise FormatError(target, f"tensor {name!r}", "cannot be stored in SafeTensors", found=dtype)
        sizes[name] = expected_nbytes(target, name, dtype, shape, MAX_NAME_BYTES)
        _check_whole_bytes(target, name, dtype, element_count(shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + sizes[name]]}
        position += sizes[name]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise FormatError(target, "header", "is too long", found=len(text), limit=MAX_HEADER_BYTES)
    with replaced_atomically(target) as partial, partial.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, (_, _, source) in tensors.items():
            stream.write(payload_of(target, name, source, sizes[name]))
