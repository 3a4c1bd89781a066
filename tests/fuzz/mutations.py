"""Damage that fits the format: lengths, counts, offsets and sizes get hostile values, JSON gets other JSON.

Plain byte damage (flips, cuts, copies) is mixed in; checksums and length words are mostly made right again.
"""

from __future__ import annotations

import json
import pickle
import random
import struct
from collections.abc import Callable
from typing import Any

from pytest_aprqa.formats import apr_layout
from pytest_aprqa.formats.gguf_metadata import Cursor

NUMBERS = [0, 1, 2, 3, 7, 8, 12, 13, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 1000, 65535, 65536]
NUMBERS += [2**k + d for k in (24, 30, 31, 32, 40, 53, 61, 62, 63, 64) for d in (-1, 0, 1)]
JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 0.5, -0.0, 1e308, 1e-320, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, -(2**63),
    "", "a", "\x00", "\ud800", "../x", "nan", "é" * 40, "x" * 3000, [], {}, [[]], [{}], [None], {"": 1}, [0, 0],
    [1, 2, 3], [-1], ["a", 1], {"type": "BPE"}, {"type": "ByteLevel"}, {"Regex": "("}, {"Regex": "(a+)+$"}, [2**62, 4],
    "F32", "I64", "F4", "BOOL", "qwen2", "llama", "default", "<unk>", "{{ x }}", [[[[[[]]]]]], 10**400,
]  # fmt: skip
Mutation = Callable[[bytes, random.Random], bytes]


def damaged_bytes(data: bytes, draw: random.Random, head: int = 0) -> bytes:
    """One to four byte-level changes; offsets below `head` (0: anywhere) are taken four times in five."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        limit = min(head, len(changed)) if head and draw.random() < 0.8 else len(changed)
        at = draw.randrange(limit) if limit else 0
        kind = draw.randrange(8)
        if kind == 0 and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and changed:
            changed[at] = draw.randrange(256)
        elif kind == 2:
            _put_number(changed, at, draw.choice(NUMBERS), draw.choice((1, 2, 4, 8)))
        elif kind == 3:
            del changed[at : at + draw.choice((1, 4, 8, 64))]
        elif kind == 4:
            changed[at:at] = draw.randbytes(draw.choice((1, 4, 8, 64)))
        elif kind == 5:
            del changed[at:]
        elif kind == 6:
            piece = changed[at : at + draw.choice((4, 8, 32))]
            to = draw.randrange(len(changed) + 1)
            changed[to : to + len(piece) * draw.randrange(2)] = piece
        elif kind == 7:
            changed += draw.randbytes(draw.choice((1, 32)))
    return bytes(changed)


def spliced(first: bytes, second: bytes, draw: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    return first[: draw.randrange(len(first) + 1)] + second[draw.randrange(len(second) + 1) :]


def damaged_json(packed: bytes, draw: random.Random) -> Any:
    """The document that was pickled, with one to three places that hold another value, are missing, doubled or renamed.

    Pickled because that is the quickest copy of nested JSON.
    """
    changed = pickle.loads(packed)
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder: Any = changed
        while isinstance(holder, (dict, list)) and holder:
            key: Any = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
            inner = holder[key]
            if isinstance(inner, (dict, list)) and inner and draw.random() < 0.75:
                holder = inner
                continue
            _change(holder, key, draw)
            break
    return changed


def _change(holder: Any, key: Any, draw: random.Random) -> None:
    kind = draw.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(draw.choice(JSON_VALUES))[:60]] = holder.pop(key)
    elif kind == 1:
        holder.insert(key, _json_value(draw))
    elif kind == 2 and isinstance(holder[key], int):
        holder[key] = holder[key] + draw.choice((-1, 1, 8, -8, 2**31, -(2**31)))
    elif kind == 3 and isinstance(holder[key], str):
        text = holder[key]
        at = draw.randrange(len(text) + 1)
        holder[key] = text[:at] + draw.choice(("", "\x00", "/", "../", "\u202e", "é", "0", "9" * 30)) + text[at + 1 :]
    else:
        holder[key] = _json_value(draw)


def _json_value(draw: random.Random) -> Any:
    """A copy: a later change of the document must change neither the list of values nor what comes of other numbers."""
    return pickle.loads(pickle.dumps(draw.choice(JSON_VALUES)))


def as_json(document: Any) -> bytes:
    """JSON text; lone surrogates and NaN are written as Python does."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


def safetensors(seed: bytes) -> Mutation:
    """Another header with a right length word, or damaged bytes."""
    (length,) = struct.unpack_from("<Q", seed)
    packed = pickle.dumps(json.loads(seed[8 : 8 + length]))

    def mutate(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.35:
            return damaged_bytes(data, draw, 8 + length)
        header = as_json(damaged_json(packed, draw))
        if draw.random() < 0.1:
            header = damaged_bytes(header, draw) or b"{"
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    return mutate


def gguf(fields: list[tuple[int, int]]) -> Mutation:
    """Mutation of a GGUF seed: `fields` are offset and size of its numbers and texts (`gguf_fields`)."""
    head = fields[-1][0] + 8

    def mutate(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.4:
            return damaged_bytes(data, draw, head)
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 3))):
            at, size = draw.choice(fields)
            if size in (1, 2, 4, 8) and draw.random() < 0.9:
                (old,) = struct.unpack_from({1: "<B", 2: "<H", 4: "<I", 8: "<Q"}[size], changed, at)
                new = draw.choice((*NUMBERS, old + 1, old - 1, old + 8, old * 2, old ^ 32))
                _put_number(changed, at, new, size)
            elif size:
                changed[at + draw.randrange(size)] = draw.randrange(256)
        return bytes(changed)

    return mutate


def gguf_fields(data: bytes, read: Callable[[], None]) -> list[tuple[int, int]]:
    """(offset, size) of all that our reader reads one by one while `read` opens `data`."""
    fields: list[tuple[int, int]] = [(0, 4)]
    plain_number, plain_string = Cursor.number, Cursor.string

    def number(self: Cursor, code: str, what: str) -> Any:
        fields.append((self.position, struct.calcsize("<" + code)))
        return plain_number(self, code, what)

    def string(self: Cursor, what: str, *limit: int) -> bytes:
        text = plain_string(self, what, *limit)
        fields.append((self.position - len(text), len(text)))
        return text

    Cursor.number, Cursor.string = number, string  # type: ignore[method-assign]
    try:
        read()
    finally:
        Cursor.number, Cursor.string = plain_number, plain_string  # type: ignore[method-assign]
    return [(at, size) for at, size in fields if at + size <= len(data)]


def apr(seed: bytes) -> Mutation:
    """Damage in header, metadata or index of an APR file; checksums are made right again nine times in ten."""
    header = apr_layout.Header.parse(seed)
    start, end, room = header.metadata_offset, header.metadata_offset + header.metadata_size, header.index_offset
    packed = pickle.dumps(json.loads(seed[start:end]))

    def mutate(data: bytes, draw: random.Random) -> bytes:
        kind = draw.random()
        if kind < 0.35:
            text = as_json(damaged_json(packed, draw))
            if start + len(text) <= room:
                changed = bytearray(data)
                changed[start:room] = text.ljust(room - start, b"\0")
                struct.pack_into("<I", changed, 20, len(text))
                data = bytes(changed)
        elif kind < 0.75:
            changed = bytearray(data)
            for _ in range(draw.choice((1, 1, 2))):
                at = draw.randrange(room, max(header.data_offset, room + 1))
                _put_number(changed, at, draw.choice(NUMBERS), draw.choice((1, 1, 2, 8)))
            data = bytes(changed)
        else:
            data = damaged_bytes(data, draw, 64)
        return apr_layout.reseal(data) if len(data) >= 68 and draw.random() < 0.9 else data

    return mutate


def json_text(seed: bytes) -> Mutation:
    """Another JSON document, or damaged bytes."""
    packed = pickle.dumps(json.loads(seed))

    def mutate(data: bytes, draw: random.Random) -> bytes:
        return damaged_bytes(data, draw) if draw.random() < 0.2 else as_json(damaged_json(packed, draw))

    return mutate


def lines(data: bytes, draw: random.Random) -> bytes:
    """Text by lines: one is dropped, doubled, moved, indented, or bytes are damaged."""
    if draw.random() < 0.4:
        return damaged_bytes(data, draw)
    rows = data.splitlines(keepends=True)
    at = draw.randrange(len(rows))
    kind = draw.randrange(5)
    if kind == 0:
        del rows[at]
    elif kind == 1:
        rows.insert(at, rows[at])
    elif kind == 2:
        rows.insert(draw.randrange(len(rows)), rows.pop(at))
    elif kind == 3:
        rows[at] = b"  " + rows[at]
    else:
        name, _, _ = rows[at].partition(b":")
        value = draw.choice((b"", b"[]", b"{}", b"-1", b"9" * 40, b"null", b"1e999", b"*a", b"&a b", b"!!x y", b"'"))
        rows[at] = name + b": " + value + b"\n"
    return b"".join(rows)


def table(data: bytes, draw: random.Random) -> bytes:
    """A CSV file in which one cell has another value, a row is dropped, doubled or longer, or bytes are damaged."""
    if draw.random() < 0.3:
        return damaged_bytes(data, draw)
    rows = [row.split(b",") for row in data.splitlines()]
    row = draw.choice(rows)
    kind = draw.randrange(4)
    if kind == 0:
        row.insert(draw.randrange(len(row)), b"")
    elif kind == 1:
        rows.append(row[: draw.randrange(len(row) + 1)])
    else:
        row[draw.randrange(len(row))] = as_json(draw.choice(JSON_VALUES)).replace(b'"', draw.choice((b"", b'"', b"")))
    return draw.choice((b"\n", b"\n", b"\r\n")).join(map(b",".join, rows)) + b"\n"


def json_lines(seed: bytes) -> Mutation:
    """A JSON Lines file in which one line is another document, or bytes are damaged."""
    each = [json_text(row) for row in seed.splitlines()]

    def mutate(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.3:
            return damaged_bytes(data, draw)
        rows = data.splitlines()
        at = draw.randrange(len(rows))
        rows[at] = each[at](rows[at], draw)
        return b"\n".join(rows) + b"\n" * draw.randrange(2)

    return mutate


def stream(chunks: list[Any]) -> Mutation:
    """Events of a server of which one is another document, or bytes are damaged."""
    packed = [pickle.dumps(chunk) for chunk in chunks]

    def mutate(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.3:
            return damaged_bytes(data, draw)
        events = data.split(b"\n\n")
        events[draw.randrange(len(events))] = b"data: " + as_json(damaged_json(draw.choice(packed), draw))
        return b"\n\n".join(events)

    return mutate


def _put_number(data: bytearray, at: int, value: int, size: int) -> None:
    piece = (value % (1 << (8 * size))).to_bytes(size, "little")
    data[at : at + size] = piece[: max(0, len(data) - at)]
