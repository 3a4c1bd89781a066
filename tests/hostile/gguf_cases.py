"""Hostile GGUF files: counts, lengths, types, offsets, names, vocabularies and split sets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from pytest_aprqa.models.artifact import open_artifact
from tests.formats.raw_files import ARCHITECTURE, gguf_bytes, good_gguf, pair, tensor_info, text
from tests.hostile.case import Case, opened, saved

U32 = struct.Struct("<I")
DATA = bytes(32)
CPP_TESTS = "bad files of llama.cpp's tests/test-gguf.cpp, as a kind"
HANG = "gguf 0.19.0 hangs on it: llama.cpp issue 25378"
OVERFLOW = "integer overflows found by Databricks and Talos, CVE-2024-21802 and following"


def array(key: str, kind: int, items: list[bytes], count: int | None = None) -> bytes:
    """A GGUF array pair; the count follows the items unless given."""
    return pair(key, 9, struct.pack("<IQ", kind, len(items) if count is None else count) + b"".join(items))


def case(number: int | None, name: str, what: str, data: bytes, words: str, origin: str = CPP_TESTS) -> Case:
    return Case(number, f"gguf-{name}", what, origin, words, saved("model.gguf", data), opened)


def one(**keywords: object) -> bytes:
    """A file with one tensor."""
    return gguf_bytes(infos=[tensor_info(**keywords)], data=DATA)  # type: ignore[arg-type]


def meta(*pairs: bytes) -> bytes:
    return gguf_bytes([ARCHITECTURE, *pairs])


def split(second: Callable[[Path, bytes], None]) -> Callable[[Path], Path]:
    """Build: the first file of a split set of two; `second` makes the other, or not."""

    def part(number: int, count: int = 2) -> bytes:
        numbers = [pair("split.no", 2, struct.pack("<H", number)), pair("split.count", 2, struct.pack("<H", count))]
        return gguf_bytes([ARCHITECTURE, *numbers], [tensor_info(f"t{number}", (8,))], DATA)

    def build(folder: Path) -> Path:
        first = folder / "m-00001-of-00002.gguf"
        first.write_bytes(part(0))
        second(folder / "m-00002-of-00002.gguf", part(1, 3))
        return first

    return build


def read_tokenizer(path: Path) -> None:
    with open_artifact(path) as artifact:
        _ = artifact.tokenizer


def read_config(path: Path) -> None:
    with open_artifact(path) as artifact:
        _ = artifact.config


TOKENS = array("tokenizer.ggml.tokens", 8, [text("a"), text("b")])
MERGES = array("tokenizer.ggml.merges", 8, [text("a b")])
CASES = [
    case(1, "empty", "a file of no bytes", b"", "is empty"),
    case(2, "header-cut", "fewer bytes than a header", good_gguf()[:23], "runs past the end"),
    case(2, "only-magic", "the four letters and nothing else", b"GGUF", "runs past the end"),
    case(3, "wrong-magic", "another word where the magic stands", b"GGUX" + bytes(40), "is not a SafeTensors, GGUF"),
    case(4, "lfs-pointer", "a Git LFS pointer under the name of the file",
         b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n", "Git LFS pointer"),
    case(5, "web-page", "an error page of the download site", b"<!DOCTYPE html><html>404</html>", "HTML"),
    case(5, "json-error", "a JSON error of the download site", b'{"error":"Access denied"}', "JSON text"),
    case(6, "version-0", "version 0", gguf_bytes(version=0), "unsupported version"),
    case(6, "version-1", "the first version, with 32-bit counts", gguf_bytes(version=1), "unsupported version"),
    case(6, "version-99", "a version from the future", gguf_bytes(version=99), "unsupported version"),
    case(7, "big-endian", "a version word in the other byte order", gguf_bytes(version=3 << 24), "big endian"),
    case(7, "magic-swapped", "the whole file in the other byte order", b"FUGG" + bytes(40), "byte-swapped"),
    case(8, "pairs-2^63-1", "as many pairs as a signed number can say", gguf_bytes(pair_count=2**63 - 1),
         "larger than the file allows", OVERFLOW),
    case(8, "pairs-minus-1", "-1 pairs", gguf_bytes(pair_count=-1), "larger than the file allows", OVERFLOW),
    case(8, "tensors-2^63-1", "as many tensors as a signed number can say", gguf_bytes(tensor_count=2**63 - 1),
         "larger than the file allows", OVERFLOW),
    case(8, "tensors-minus-1", "-1 tensors", gguf_bytes(tensor_count=-1), "larger than the file allows", OVERFLOW),
    case(9, "string-past-end", "a string longer than the file", meta(pair("k", 8, struct.pack("<Q", 4096))),
         "larger than the file allows", "llama.cpp issue 19003"),
    case(9, "string-2^63", "a string of 2^63 bytes", meta(pair("k", 8, struct.pack("<Q", 2**63) + bytes(40))),
         "larger than the file allows", OVERFLOW),
    case(9, "key-2^64-1", "a key of 2^64 - 1 bytes", gguf_bytes([struct.pack("<Q", 2**64 - 1) + bytes(40)]),
         "larger than the file allows", OVERFLOW),
    case(10, "array-2^63-bytes", "an array of 2^63 bytes in a file of a few", meta(array("k", 0, [b"abc"], 2**63)),
         "larger than the file allows", HANG),
    case(10, "array-2^61-strings", "2^61 strings", meta(array("k", 8, [text("a")], 2**61)), "larger", HANG),
    case(10, "array-wraps", "a count whose product with the item size is 0", meta(array("k", 12, [bytes(8)], 2**61)),
         "larger than the file allows", OVERFLOW),
    case(11, "arrays-in-arrays", "arrays of arrays of arrays", meta(array("k", 9, [U32.pack(9) * 400])),
         "arrays of arrays"),
    case(12, "value-type-13", "a value type that does not exist", meta(pair("k", 13, bytes(8))), "unknown value type"),
    case(12, "element-type-99", "an element type that does not exist", meta(array("k", 99, [bytes(8)])),
         "unknown array element type"),
    case(13, "key-twice", "one key twice", meta(pair("k", 4, U32.pack(1)), pair("k", 4, U32.pack(2))), "duplicate key"),
    case(13, "key-empty", "a key without letters", meta(pair("", 4, U32.pack(1))), "key is empty"),
    case(13, "key-escape", "a key that paints the terminal", meta(pair("a\x1b[2J", 4, U32.pack(1))), "not printable"),
    case(14, "alignment-0", "alignment 0", meta(pair("general.alignment", 4, U32.pack(0))), "power of two"),
    case(14, "alignment-13", "alignment 13", meta(pair("general.alignment", 4, U32.pack(13))), "power of two"),
    case(14, "alignment-text", "alignment as text", meta(pair("general.alignment", 8, text("32"))), "wrong type"),
    case(14, "alignment-2^31", "alignment larger than the file", gguf_bytes(
         [ARCHITECTURE, pair("general.alignment", 4, U32.pack(2**31))], [tensor_info()], DATA), "past the end"),
    case(15, "no-dimensions", "a tensor of 0 dimensions", one(sizes=()), "number of dimensions"),
    case(15, "five-dimensions", "a tensor of 5 dimensions", one(sizes=(1,) * 5), "number of dimensions"),
    case(15, "million-dimensions", "a tensor of a million dimensions",
         gguf_bytes(infos=[text("a") + U32.pack(10**6) + bytes(40)], data=DATA), "number of dimensions"),
    case(16, "product-wraps", "sizes whose product is 2^64", one(sizes=(2**32, 2**32)), "overflows", OVERFLOW),
    case(16, "bytes-wrap", "fewer than 2^63 elements of more bytes", one(sizes=(2**62,)), "past the end",
         "CVE-2025-53630 and its bypass CVE-2026-27940"),
    case(17, "zero-size", "a dimension of 0", one(sizes=(4, 0)), "dimension is zero"),
    case(18, "part-of-a-block", "rows of Q8_0 that are no whole blocks", one(sizes=(31,), kind=8), "whole blocks"),
    case(19, "type-unknown", "a type from the future", one(kind=200), "unknown type"),
    case(19, "type-removed", "a type that ggml removed", one(kind=4), "Q4_2 was removed"),
    case(20, "offset-past-end", "data behind the end", one(offset=2**40), "gap|past the end"),
    case(20, "offset-2^64-32", "an offset that wraps to before the data", one(offset=2**64 - 32), "gap|past", OVERFLOW),
    case(20, "offset-odd", "an offset that is not aligned", one(offset=4), "not aligned"),
    case(20, "overlap", "two tensors in one place",
         gguf_bytes(infos=[tensor_info("a"), tensor_info("b")], data=bytes(64)), "overlaps", "gguf 0.19.0 accepts it"),
    case(20, "out-of-order", "the second tensor before the first",
         gguf_bytes(infos=[tensor_info("a", offset=32), tensor_info("b")], data=bytes(64)), "gap|overlaps"),
    case(21, "data-cut", "the last byte of the data is missing", good_gguf()[:-9], "past the end"),
    case(22, "bytes-after", "100 kB behind the last tensor", good_gguf() + bytes(100_000), "after the last tensor",
         "gguf 0.19.0 accepts it"),
    case(23, "name-twice", "two tensors of one name",
         gguf_bytes(infos=[tensor_info(), tensor_info(offset=32)], data=bytes(64)), "duplicate tensor"),
    case(23, "name-200", "a name of 200 letters", one(name="n" * 200), "bad length", "gguf 0.19.0 accepts it"),
    case(23, "name-not-utf8", "a name that is not UTF-8", one(name=b"\xff\xfe"), "UTF-8"),
    case(23, "name-is-path", "a name that leads out of a folder", one(name="../../etc/passwd"), "looks like a path"),
    case(24, "types-too-few", "fewer token types than tokens",
         meta(TOKENS, array("tokenizer.ggml.token_type", 5, [bytes(4)])), "one item per token"),
    case(24, "tokens-are-numbers", "tokens of type int32", meta(array("tokenizer.ggml.tokens", 5, [bytes(4)])),
         "wrong type", "read past the end in llama.cpp: pull request 26690"),
    Case(24, "gguf-bos-outside", "a BOS id that no token has", CPP_TESTS, "outside the vocabulary", saved("m.gguf",
         meta(TOKENS, MERGES, pair("tokenizer.ggml.bos_token_id", 4, U32.pack(7)))), read_tokenizer),
    Case(25, "gguf-split-missing", "a split set whose second file is missing", CPP_TESTS, "file of the set is missing",
         split(lambda path, data: None), opened),
    Case(25, "gguf-split-counts", "a split set whose files disagree", CPP_TESTS, "contradicts its place",
         split(lambda path, data: void(path.write_bytes(data))), opened),
    Case(None, "gguf-layers-2^31", "2^31 layers declared", "counts that loops believe", "not a positive whole number",
         saved("m.gguf", meta(pair("llama.embedding_length", 4, U32.pack(8)),
               pair("llama.attention.head_count", 4, U32.pack(1)), pair("llama.block_count", 4, U32.pack(2**31)))),
         read_config),
    Case(None, "gguf-heads-0", "0 heads: dividing by it", "counts that divide", "not a positive whole number",
         saved("m.gguf", meta(pair("llama.embedding_length", 4, U32.pack(8)),
               pair("llama.attention.head_count", 4, U32.pack(0)))), read_config),
    Case(None, "gguf-vocabulary-kind", "a vocabulary of an unknown kind", "unknown words", "kind of vocabulary",
         saved("m.gguf", meta(pair("tokenizer.ggml.model", 8, text("spells")), TOKENS, MERGES)), read_tokenizer),
]  # fmt: skip


def void(value: object) -> None:
    """Drop a value."""
