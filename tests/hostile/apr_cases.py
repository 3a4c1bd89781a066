"""Hostile APR files: header, checksums, sections, index rows and metadata, with checksums that are right again."""

from __future__ import annotations

import struct

from pytest_aprqa.formats.apr_layout import reseal
from tests.formats.apr_builder import Row, apr_bytes
from tests.formats.raw_files import good_apr
from tests.hostile.case import Case, opened, saved

ROW = Row("a", 0, (2,), bytes(8))
RULES = "rules of the format, read as a list of ways to break them"


def case(name: str, what: str, data: bytes, words: str) -> Case:
    return Case(None, f"apr-{name}", what, RULES, words, saved("model.apr", data), opened)


def put(offset: int, form: str, value: int) -> bytes:
    """A sound file with one number of its header changed and its checksums right."""
    data = bytearray(good_apr())
    struct.pack_into(form, data, offset, value)
    return reseal(data)


CASES = [
    case("empty", "a file of no bytes", b"", "is empty"),
    case("magic-only", "the magic and nothing else", b"APR\0", "too small"),
    case("legacy", "a file of the first version", b"APRN" + bytes(80), "legacy"),
    case("bit-flipped", "one bit of the data changed", good_apr()[:-80] + b"\x01" + good_apr()[-79:], "checksum|zero"),
    case("cut", "the second half is missing", good_apr()[: len(good_apr()) // 2], "past the end|checksum"),
    case("metadata-size-2^32-1", "metadata of 4 GiB", put(20, "<I", 2**32 - 1), "past the end"),
    case("index-offset-2^64-64", "an index that wraps", put(24, "<Q", 2**64 - 64), "past the end"),
    case("data-before-index", "data that begins in the index", put(32, "<Q", 64), "sections overlap"),
    case("tensors-2^32-1", "four milliard tensors", put(8, "<I", 2**32 - 1), "tensor|count"),
    case("offset-2^64-64", "a tensor whose offset wraps",
         reseal(apr_bytes([ROW]).replace(struct.pack("<QQ", 0, 8), struct.pack("<QQ", 2**64 - 64, 8))), "past the end"),
    case("size-2^63", "a tensor of 2^63 bytes", apr_bytes([ROW._replace(size=2**63)]), "size does not match"),
    case("shape-wraps", "sizes whose product is 2^64", apr_bytes([ROW._replace(shape=(2**32, 2**32))]), "overflows"),
    case("nine-dimensions", "a tensor of 9 dimensions", apr_bytes([ROW._replace(shape=(1,) * 9)]), "dimensions"),
    case("type-unknown", "an unknown element type", apr_bytes([ROW._replace(code=250)]), "type"),
    case("name-twice", "one tensor twice", apr_bytes([ROW, ROW]), "repeats a name"),
    case("name-is-path", "a name that leads out of a folder", apr_bytes([ROW._replace(name="../x")]), "like a path"),
    case("metadata-not-json", "metadata that breaks off", apr_bytes([ROW], b'{"a":'), "JSON"),
    case("metadata-deep", "metadata of 100,000 levels",
         apr_bytes([ROW], b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested"),
    case("metadata-key-twice", "one key twice", apr_bytes([ROW], b'{"a":1,"a":2}'), "duplicate"),
    case("metadata-nan", "NaN in metadata", apr_bytes([ROW], b'{"rope_theta":NaN}'), "not finite"),
    case("metadata-types", "text where a count stands", apr_bytes([ROW], b'{"hidden_size":"x"}'), "hidden_size"),
]  # fmt: skip
