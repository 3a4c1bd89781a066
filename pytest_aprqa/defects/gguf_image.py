"""A GGUF file taken apart into raw key-values and tensors and put together again: what damage needs, not what reading
needs (that is `formats/`). Values keep their exact bytes unless an operation replaces them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
# struct codes of the scalar value types of the public GGUF specification
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True, slots=True)
class RawValue:
    """One metadata value: GGUF type number and its encoded bytes (arrays: element type, count, elements)."""

    type: int
    data: bytes

    def replaced(self, value: Any) -> RawValue:
        """The same type with another value (bool, number, str, or a list for arrays)."""
        return RawValue(self.type, _encode(self.type, value, self.data))


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One tensor: row-major `shape`, GGML type number, bytes."""

    shape: tuple[int, ...]
    type: int
    data: bytes


def read_key_values(path: Path) -> dict[str, RawValue]:
    """All key-values of a healthy GGUF file, in file order."""
    data = path.read_bytes()
    count = struct.unpack_from("<Q", data, 16)[0]
    position = 24
    values: dict[str, RawValue] = {}
    for _ in range(count):
        length = struct.unpack_from("<Q", data, position)[0]
        key = data[position + 8 : position + 8 + length].decode("utf-8")
        position += 8 + length
        kind = struct.unpack_from("<I", data, position)[0]
        end = _value_end(data, position + 4, kind)
        values[key] = RawValue(kind, data[position + 4 : end])
        position = end
    return values


def write_gguf_image(path: Path, values: dict[str, RawValue], tensors: dict[str, RawTensor]) -> None:
    """Write a GGUF version 3 file; tensors are laid out in the order given, padded to `general.alignment`."""
    alignment = DEFAULT_ALIGNMENT
    if "general.alignment" in values:
        alignment = struct.unpack("<I", values["general.alignment"].data)[0]
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(values))]
    for key, value in values.items():
        head += [_string(key), struct.pack("<I", value.type), value.data]
    offset = 0
    for name, tensor in tensors.items():
        dims = tuple(reversed(tensor.shape))
        head.append(_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.type, offset))
        offset += len(_padded(tensor.data, alignment))
    with path.open("wb") as stream:
        stream.write(_padded(b"".join(head), alignment))
        for tensor in tensors.values():
            stream.write(_padded(tensor.data, alignment))


def _padded(data: bytes, alignment: int) -> bytes:
    return data + b"\0" * (-len(data) % alignment)


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value_end(data: bytes, position: int, kind: int) -> int:
    if kind in SCALARS:
        return position + struct.calcsize(SCALARS[kind])
    if kind == STRING:
        return position + 8 + int(struct.unpack_from("<Q", data, position)[0])
    element, count = struct.unpack_from("<IQ", data, position)
    position += 12
    if element in SCALARS:
        return position + int(count) * struct.calcsize(SCALARS[element])
    for _ in range(count):
        position = _value_end(data, position, element)
    return position


def _encode(kind: int, value: Any, old: bytes) -> bytes:
    if kind in SCALARS:
        return struct.pack(SCALARS[kind], value)
    if kind == STRING:
        return _string(value)
    element = struct.unpack_from("<I", old)[0]
    items: Iterable[bytes] = (_encode(element, item, b"") for item in value)
    return struct.pack("<IQ", element, len(value)) + b"".join(items)
