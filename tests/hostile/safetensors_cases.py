"""Hostile SafeTensors files and indexes: header lengths, JSON, offsets, shapes, types, shards; and impostors."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.formats.raw_files import field, good_safetensors, safetensors_bytes
from tests.hostile.case import Case, opened, saved

REFERENCE = "rules of the reference implementation, safetensors/src/tensor.rs"
AUDIT = "audit and fuzzing of safetensors"
ONE = {"a": field()}


def case(number: int | None, name: str, what: str, data: bytes, words: str, origin: str = REFERENCE) -> Case:
    return Case(number, f"safetensors-{name}", what, origin, words, saved("model.safetensors", data), opened)


def header(value: Any, data: bytes = bytes(8)) -> bytes:
    return safetensors_bytes(value, data)


def index(document: Any, *, shards: dict[str, bytes] | None = None) -> Callable[[Path], Path]:
    """Build: a folder with this index and these shards."""

    def build(folder: Path) -> Path:
        for name, data in (shards or {}).items():
            (folder / name).write_bytes(data)
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        (folder / "model.safetensors.index.json").write_bytes(raw)
        return folder

    return build


def sharded(name: str, what: str, document: Any, words: str, number: int = 35, **keywords: Any) -> Case:
    return Case(number, f"index-{name}", what, REFERENCE, words, index(document, **keywords), opened)


class Harmful:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


def zipped() -> bytes:
    """A PyTorch checkpoint that would run a command, with a member that leads out of the folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful()))
        archive.writestr("../../slip", b"out")
        archive.writestr("archive/bomb", bytes(4 << 20))
    return stream.getvalue()


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.safetensors")
    return folder / "model.safetensors"


def link_to_itself(folder: Path) -> Path:
    (folder / "model.safetensors").symlink_to("model.safetensors")
    return folder / "model.safetensors"


def device(folder: Path) -> Path:
    (folder / "model.safetensors").symlink_to("/dev/zero")
    return folder / "model.safetensors"


GOOD = {"m1.safetensors": good_safetensors()}
CASES = [
    case(26, "length-past-end", "a header longer than the file", safetensors_bytes(ONE, length=5000), "past the end"),
    case(26, "length-2^63", "a header of 2^63 bytes", safetensors_bytes(ONE, length=2**63), "too long", AUDIT),
    case(26, "length-over-limit", "one byte more than 100 MB", safetensors_bytes(ONE, length=100_000_001), "too long"),
    case(26, "seven-bytes", "not even a length word", bytes(7), "too short"),
    case(27, "not-json", "a header that breaks off", safetensors_bytes(b'{"a":'), "not valid JSON"),
    case(27, "not-utf8", "a header that is not UTF-8", safetensors_bytes(b'{"\xff":1}'), "UTF-8"),
    case(27, "array-on-top", "a list instead of an object", safetensors_bytes(b"[1]"), "does not begin"),
    case(27, "nan-in-header", "NaN, which is no JSON", header(b'{"a":NaN}'), "not finite"),
    case(28, "200k-deep", "JSON of 200,000 levels", safetensors_bytes(b'{"a":' + b"[" * 200_000), "JSON", AUDIT),
    case(28, "200k-deep-closed", "200,000 levels that are closed again",
         safetensors_bytes(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "nested", AUDIT),
    case(29, "key-twice", "one tensor declared twice",
         header(b'{"a":%s,"a":%s}' % ((json.dumps(field()).encode(),) * 2)), "duplicate",
         "safetensors 0.8.0 accepts it, the last wins"),
    case(30, "hole", "bytes that no tensor covers", header({"a": field(offsets=(4, 12))}, bytes(12)), "hole", AUDIT),
    case(30, "overlap", "two tensors in one place", header({"a": field(), "b": field(offsets=(4, 12))}, bytes(12)),
         "overlaps", AUDIT),
    case(30, "reversed", "an end before its begin", header({"a": field(offsets=(8, 0))}), "before begin"),
    case(30, "negative", "a negative offset", header({"a": field(offsets=(-8, 0))}), "non-negative"),
    case(30, "bytes-after", "a second file behind the first", good_safetensors() + b"PK\x03\x04" + bytes(50),
         "after the last tensor", "polyglot files, found by the audit of safetensors"),
    case(31, "shape-too-large", "a shape of more bytes", header({"a": field(shape=(3,))}), "takes 12 bytes"),
    case(31, "shape-too-small", "a shape of fewer bytes", header({"a": field(shape=(1,))}), "takes 4 bytes"),
    case(32, "shape-wraps", "sizes whose product is 2^64", header({"a": field(shape=(2**32, 2**32))}), "overflows"),
    case(32, "empty-shape-wraps", "a 0 that hides a product beyond 2^63",
         header({"a": field(shape=(0, 2**62, 4), offsets=(0, 0))}, b""), "overflows"),
    case(32, "number-of-5000-digits", "an integer that Python refuses to convert",
         header(b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % (b"9" * 5000)), "JSON value|must be"),
    case(33, "type-unknown", "a type of another format", header({"a": field(dtype="Q4_K")}), "unknown type"),
    case(33, "type-is-list", "a list as type: not hashable", header({"a": field(dtype=["F32"])}), "unknown type"),
    case(33, "shape-of-floats", "2.0 elements", header({"a": field(shape=(2.0,))}), "integers"),
    case(33, "shape-of-booleans", "true elements", header({"a": field(shape=(True, 2))}), "integers"),
    case(34, "metadata-number", "metadata that maps to numbers", header({"__metadata__": {"a": 1}}, b""), "strings"),
    case(34, "metadata-list", "metadata that is a list", header({"__metadata__": []}, b""), "strings"),
    case(None, "name-surrogate", "half a character as name", header({"\ud800": field()}), "Unicode"),
    case(None, "name-newline", "a name that forges a line of the report", header({"a\nPASSED": field()}), "control"),
    case(None, "name-long", "a name of 100,000 letters", header({"n" * 100_000: field()}), "bad length"),
    sharded("shard-missing", "a shard that is not there", {"weight_map": {"a": "m1.safetensors"}}, "does not exist"),
    sharded("path-up", "a shard outside the folder", {"weight_map": {"a": "../m.safetensors"}}, "plain file name"),
    sharded("path-absolute", "a shard named by its root", {"weight_map": {"a": "/etc/passwd"}}, "plain file name"),
    sharded("shard-is-number", "a number as shard", {"weight_map": {"a": 1}}, "plain file name"),
    sharded("map-empty", "an index of nothing", {"weight_map": {}}, "at least one"),
    sharded("map-is-list", "a list as map", {"weight_map": ["a"]}, "must be an object"),
    sharded("not-json", "an index that breaks off", b'{"weight_map": {', "JSON"),
    sharded("metadata-is-list", "metadata that is a list", {"metadata": [], "weight_map": {"a": "m1.safetensors"}},
            "must be an object"),
    sharded("size-is-infinite", "a total size of 1e999", b'{"metadata":{"total_size":1e999},"weight_map":{"a":"b"}}',
            "not finite"),
    sharded("extra-tensor", "a tensor that the index does not name", {"weight_map": {"a": "m1.safetensors"}},
            "does not place there", 36, shards=GOOD),
    sharded("tensor-lacks", "a tensor that its shard lacks",
            {"weight_map": dict.fromkeys("abz", "m1.safetensors")}, "shard lacks", shards=GOOD),
    case(37, "pickle", "a pickle that runs a command, under the name of a sound format", pickle.dumps(Harmful()),
         "pickle", "pickled checkpoints"),
    case(39, "zip", "a zip that slips out of the folder and unpacks to megabytes", zipped(), "pickle or zip",
         "zip slip and zip bombs"),
    Case(38, "link-to-itself", "a link that leads to itself", "links in downloaded folders", "cannot be opened",
         link_to_itself, opened),
    Case(38, "link-to-device", "a link to an endless device", "links in downloaded folders", "not a regular file",
         device, opened),
    Case(None, "named-pipe", "a pipe that nobody writes: opening waits for ever", "special files", "not a regular file",
         pipe, opened),
]  # fmt: skip
