"""The key-value section of a GGUF file: a bounded cursor over the map, all value types, and the vocabulary arrays.

No count is believed: an array or string must fit into the bytes that remain before anything is allocated for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_types import ARRAY_VALUE, SCALAR_VALUES, STRING_VALUE

MAX_STRING_BYTES: Final = 2**30
MAX_ARRAY_ITEMS: Final = 2**30
MAX_KEY_BYTES: Final = 2**16 - 1
DEFAULT_ALIGNMENT: Final = 32
_DAMAGED: Final = "the file is damaged or made to harm: do not use it"
_CUT: Final = "the file is cut short or damaged: download it again"

#: metadata key -> element type ("string" or a scalar name); arrays under these keys have one item per token.
VOCABULARY_ARRAYS: Final = {
    "tokenizer.ggml.tokens": ("string",),
    "tokenizer.ggml.scores": ("float32",),
    "tokenizer.ggml.token_type": ("int32", "uint32"),
}

_LAYOUTS: Final = {code: struct.Struct("<" + code) for code in "BbHhIiQqfd"}


class Cursor:
    """Reads little-endian values one after the other from DATA; FormatError names the offset and what was wanted."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.data = data
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes after the position."""
        return len(self.data) - self.position

    def number(self, code: str, what: str) -> Any:
        """One value of struct CODE."""
        layout, start = _LAYOUTS[code], self.position
        end = start + layout.size
        if end > len(self.data):
            self.need(layout.size, what)
        self.position = end
        return layout.unpack_from(self.data, start)[0]

    def need(self, size: int, what: str) -> None:
        """FormatError unless SIZE more bytes exist."""
        if size > self.remaining:
            raise FormatError(
                self.path, f"offset {self.position}, {what}", "runs past the end of the file", found=size,
                limit=self.remaining, advice=_CUT,
            )  # fmt: skip

    def count(self, code: str, what: str, item_bytes: int, limit: int) -> int:
        """A count of items of at least ITEM_BYTES each, bounded by LIMIT and by the bytes that remain."""
        start = self.position
        value = int(self.number(code, what))
        bound = min(limit, self.remaining // item_bytes)
        if value > bound:
            where = f"offset {start}, {what}"
            raise FormatError(
                self.path, where, "is larger than the file allows", found=value, limit=bound, advice=_DAMAGED
            )
        return value

    def string(self, what: str, limit: int = MAX_STRING_BYTES) -> bytes:
        """A string: u64 length, then that many bytes."""
        size = self.count("Q", f"{what} length", 1, limit)
        self.position += size
        return bytes(self.data[self.position - size : self.position])

    def text(self, what: str, limit: int = MAX_STRING_BYTES) -> str:
        """A string decoded as UTF-8; FormatError when it is not."""
        start = self.position
        try:
            return self.string(what, limit).decode("utf-8")
        except UnicodeDecodeError as problem:
            where = f"offset {start + 8 + problem.start}, {what}"
            raise FormatError(self.path, where, "is not valid UTF-8", advice=_DAMAGED) from None


def read_metadata(cursor: Cursor, count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """COUNT pairs at the cursor -> (key -> value, key -> type name such as "uint32" or "array[string]")."""
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    for index in range(count):
        start = cursor.position
        key = cursor.text(f"key {index}", MAX_KEY_BYTES)
        where = f"offset {start}, key {index}"
        if not key or not key.isprintable():
            raise FormatError(cursor.path, where, "key is empty or not printable", found=key, advice=_DAMAGED)
        if key in values:
            raise FormatError(cursor.path, where, "duplicate key", found=key, advice=_DAMAGED)
        kind = cursor.number("I", f"type of {key!r}")
        values[key], types[key] = _read_value(cursor, kind, key)
    return values, types


def _read_value(cursor: Cursor, kind: int, key: str) -> tuple[Any, str]:
    if kind == ARRAY_VALUE:
        return _read_array(cursor, key)
    if kind == STRING_VALUE:
        return cursor.text(f"value of {key!r}"), "string"
    if kind not in SCALAR_VALUES:
        where = f"offset {cursor.position - 4}, type of {key!r}"
        raise FormatError(cursor.path, where, "unknown value type", found=kind, limit="0..12", advice=_DAMAGED)
    name, code, _ = SCALAR_VALUES[kind]
    value = cursor.number(code, f"value of {key!r}")
    if name == "bool":
        if value > 1:
            where = f"offset {cursor.position - 1}, value of {key!r}"
            raise FormatError(cursor.path, where, "is not a bool", found=value, limit="0 or 1", advice=_DAMAGED)
        value = bool(value)
    return value, name


def _read_array(cursor: Cursor, key: str) -> tuple[list[Any], str]:
    start = cursor.position
    kind = cursor.number("I", f"element type of {key!r}")
    what = f"array length of {key!r}"
    if kind == STRING_VALUE:
        count = cursor.count("Q", what, 8, MAX_ARRAY_ITEMS)
        return _read_strings(cursor, key, count), "array[string]"
    if kind not in SCALAR_VALUES:
        problem = "arrays of arrays are not allowed" if kind == ARRAY_VALUE else "unknown array element type"
        where = f"offset {start}, element type of {key!r}"
        raise FormatError(cursor.path, where, problem, found=kind, advice=_DAMAGED)
    name, code, size = SCALAR_VALUES[kind]
    count = cursor.count("Q", what, size, MAX_ARRAY_ITEMS)
    items = np.frombuffer(cursor.data, "<" + code, count, cursor.position if count else 0)
    if name == "bool":
        if count and int(items.max()) > 1:
            where = f"offset {cursor.position}, {key!r}"
            raise FormatError(cursor.path, where, "array of bool holds other values", found=int(items.max()), limit=1)
        items = items.astype(np.bool_)
    cursor.position += count * size
    return items.tolist(), f"array[{name}]"


def _read_strings(cursor: Cursor, key: str, count: int) -> list[str]:
    """COUNT strings: a loop without calls, because vocabularies have hundreds of thousands of them."""
    items: list[str] = []
    data, position, end = cursor.data, cursor.position, len(cursor.data)
    length = struct.Struct("<Q").unpack_from
    for index in range(count):
        stop = position + 8 + length(data, position)[0] if position + 8 <= end else end + 1
        try:
            if stop > end:
                raise ValueError(stop)
            items.append(str(data[position + 8 : stop], "utf-8"))
        except ValueError:
            cursor.position = position
            cursor.text(f"item {index} of {key!r}")  # explains what is wrong with this string
            raise
        position = stop
    cursor.position = position
    return items


def read_alignment(path: Path, values: Mapping[str, Any], types: Mapping[str, str]) -> int:
    """`general.alignment` in bytes (32 when absent); FormatError unless it is a uint32 power of two."""
    value = values.get("general.alignment", DEFAULT_ALIGNMENT)
    kind = types.get("general.alignment", "uint32")
    if kind != "uint32":
        raise FormatError(path, "general.alignment", "has the wrong type", found=kind, limit="uint32", advice=_DAMAGED)
    if value < 1 or value & (value - 1):
        raise FormatError(path, "general.alignment", "is not a power of two", found=value, advice=_DAMAGED)
    return int(value)


def check_vocabulary(path: Path, values: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """FormatError when token arrays have a wrong element type or do not have one item per token."""
    tokens = values.get("tokenizer.ggml.tokens")
    for key, elements in {**VOCABULARY_ARRAYS, "tokenizer.ggml.merges": ("string",)}.items():
        allowed = [f"array[{element}]" for element in elements]
        if key in types and types[key] not in allowed:
            raise FormatError(path, key, "has the wrong type", found=types[key], limit=" or ".join(allowed))
    for key in VOCABULARY_ARRAYS:
        if key in values and tokens is not None and len(values[key]) != len(tokens):
            advice = "every token needs one entry: convert the model again"
            raise FormatError(
                path, key, "has not one item per token", found=len(values[key]), limit=len(tokens), advice=advice
            )
