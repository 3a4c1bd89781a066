"""The SafeTensors reader and writer against the reference package, and against files made to break rules."""

import contextlib
import json
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.formats import safetensors_file
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.safetensors_file import SafeTensorsFile, write_safetensors
from pytest_aprqa.formats.tensor_file import sha256_of
from tests.formats.raw_files import field, good_safetensors, name_bytes, safetensors_bytes

SCRATCH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
ONE = {"a": field()}
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def opened(folder, data, **options):
    path = folder / "x.safetensors"
    path.write_bytes(data)
    return SafeTensorsFile(path, **options)


tensors = st.dictionaries(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12),
    st.tuples(
        st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=3).map(tuple), st.binary(min_size=512)
    ),
    max_size=5,
)


@SCRATCH
@given(tensors, st.dictionaries(st.text(), st.text(), max_size=2))
def test_what_we_write_the_reference_package_reads_the_same(tmp_path, made, metadata):
    rows = {}
    for name, (dtype, shape, noise) in made.items():
        kind = np.dtype(DTYPES[dtype])
        count = int(np.prod(shape)) if shape else 1
        raw = np.frombuffer(noise[: count * kind.itemsize], np.uint8)
        array = (raw % 2).astype(bool) if dtype == "BOOL" else raw.view(kind)
        rows[name] = (dtype, shape, array.reshape(shape))
    path = tmp_path / "x.safetensors"
    write_safetensors(path, rows, metadata)
    theirs = safetensors.deserialize(path.read_bytes())
    assert {name: (one["dtype"], tuple(one["shape"]), bytes(one["data"])) for name, one in theirs} == {
        name: (dtype, shape, array.tobytes()) for name, (dtype, shape, array) in rows.items()
    }
    with SafeTensorsFile(path) as file:
        assert file.metadata == metadata
        for name, (dtype, shape, array) in rows.items():
            assert (file.entries[name].dtype, file.entries[name].shape) == (dtype, shape)
            assert file.read_native(name).tobytes() == array.tobytes()


def test_what_the_reference_package_writes_we_read(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True, False]), "c": np.float16([1.5])}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", {"format": "np"})
    with SafeTensorsFile(tmp_path / "x.safetensors") as file:
        assert file.metadata == {"format": "np"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.read_native(name), array)
            np.testing.assert_array_equal(file.read(name), array.astype(np.float32))


def test_bfloat16_is_read_exactly(tmp_path):
    with opened(
        tmp_path, safetensors_bytes({"a": field("BF16", (3,), (0, 6))}, struct.pack("<3H", 0x3F80, 0xC000, 0x7F80))
    ) as file:
        assert file.read("a").tolist() == [1.0, -2.0, float("inf")]
        assert file.read_native("a").tolist() == [0x3F80, 0xC000, 0x7F80]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "too short"),
        (bytes(7), "too short"),
        (bytes(8), "does not begin"),
        (safetensors_bytes(ONE, bytes(8), length=2**63), "too long"),
        (safetensors_bytes(ONE, bytes(8), length=100_000_001), "too long"),
        (safetensors_bytes(ONE, bytes(8), length=100_000_000), "runs past the end"),
        (safetensors_bytes(ONE, length=1000), "runs past the end"),
        (safetensors_bytes(b"[]"), "does not begin"),
        (safetensors_bytes(b"{"), "not valid JSON"),
        (safetensors_bytes(b'{"\xff":1}'), "UTF-8"),
        (safetensors_bytes(b'{"a":' * 200_000), "JSON"),
        (safetensors_bytes(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "nested"),
        (safetensors_bytes(b'{"a":1} x'), "JSON"),
        (
            safetensors_bytes(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
            "duplicate",
        ),
        (safetensors_bytes(b'{"a":%s,"a":%s}' % ((json.dumps(field()).encode(),) * 2), bytes(8)), "duplicate"),
        (safetensors_bytes({"a": field(offsets=(4, 12))}, bytes(12)), "hole"),
        (safetensors_bytes({"a": field(), "b": field(offsets=(4, 12))}, bytes(12)), "overlaps"),
        (safetensors_bytes({"a": field(), "b": field(offsets=(12, 20))}, bytes(20)), "hole"),
        (safetensors_bytes({"a": field(offsets=(8, 0))}, bytes(8)), "before begin"),
        (safetensors_bytes({"a": field(offsets=(-8, 0))}, bytes(8)), "non-negative"),
        (safetensors_bytes({"a": field(offsets=(0, 2**63))}, bytes(8)), "non-negative"),
        (safetensors_bytes({"a": field(offsets=(0, 8.0))}, bytes(8)), "non-negative"),
        (safetensors_bytes({"a": field(offsets=(0, 8, 9))}, bytes(8)), "two"),
        (safetensors_bytes({"a": field(offsets=(0, 7))}, bytes(7)), "takes 8 bytes"),
        (safetensors_bytes({"a": field(shape=(2**32, 2**32))}, bytes(8)), "overflows"),
        (safetensors_bytes({"a": field(shape=(0, 2**62, 4), offsets=(0, 0))}), "overflows"),
        (safetensors_bytes({"a": field(shape=(2.0,))}, bytes(8)), "integers"),
        (safetensors_bytes({"a": field(shape=(True, 2))}, bytes(8)), "integers"),
        (safetensors_bytes({"a": field(shape=(-2,))}, bytes(8)), "integers"),
        (safetensors_bytes({"a": field(shape="2")}, bytes(8)), "list"),
        (safetensors_bytes({"a": field(dtype="Q4_K")}, bytes(8)), "unknown type"),
        (safetensors_bytes({"a": field(dtype=["F32"])}, bytes(8)), "unknown type"),
        (safetensors_bytes({"a": 3}, bytes(8)), "needs exactly"),
        (safetensors_bytes({"a": {**field(), "x": 1}}, bytes(8)), "needs exactly"),
        (safetensors_bytes({"__metadata__": {"a": 1}}), "strings to strings"),
        (safetensors_bytes({"__metadata__": []}), "strings to strings"),
        (safetensors_bytes({"": field()}, bytes(8)), "bad length"),
        (safetensors_bytes({"../../etc/passwd": field()}, bytes(8)), "looks like a path"),
        (safetensors_bytes({"a\nb": field()}, bytes(8)), "control"),
        (safetensors_bytes({"\ud800": field()}, bytes(8)), "Unicode"),
        (safetensors_bytes(ONE, bytes(7)), "shorter"),
        (safetensors_bytes(ONE, bytes(9)), "after the last tensor"),
    ],
    ids=name_bytes,
)
def test_a_broken_rule_is_one_typed_line(tmp_path, data, words):
    with pytest.raises(FormatError, match=words) as caught:
        opened(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.safetensors"))


def test_header_limit_is_just_what_it_says(tmp_path, monkeypatch):
    data = good_safetensors()
    (length,) = struct.unpack_from("<Q", data)
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", length)
    opened(tmp_path, data)
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", length - 1)
    with pytest.raises(FormatError, match="header is too long"):
        opened(tmp_path, data)


@pytest.mark.parametrize(("size", "fine"), [(1024, True), (1025, False)])
def test_name_limit(tmp_path, size, fine):
    data = safetensors_bytes({"n" * size: field()}, bytes(8))
    if fine:
        opened(tmp_path, data)
    else:
        with pytest.raises(FormatError, match="bad length"):
            opened(tmp_path, data)


@pytest.mark.parametrize(
    "data", [safetensors_bytes({}), safetensors_bytes({"a": field(shape=(0, 5), offsets=(0, 0))})], ids=name_bytes
)
def test_no_tensors_and_empty_tensors_are_legal(tmp_path, data):
    with opened(tmp_path, data) as file:
        assert [file.read(name).size for name in file.entries] in ([], [0])
        assert [list(file.chunks(name)) for name in file.entries] in ([], [[]])


@SCRATCH
@given(st.lists(st.tuples(st.integers(0, len(good_safetensors()) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_files_give_a_format_error_or_open(tmp_path, changes):
    data = bytearray(good_safetensors())
    for offset, value in changes:
        data[offset] = value
    with contextlib.suppress(FormatError), opened(tmp_path, bytes(data)) as file:
        assert all(file.read(name).shape == entry.shape for name, entry in file.entries.items())


def test_cut_files_are_refused(tmp_path):
    data = good_safetensors()
    for size in range(len(data)):
        with pytest.raises(FormatError):
            opened(tmp_path, data[:size])


def sharded(folder, **changes):
    write_safetensors(folder / "model-00001-of-00002.safetensors", {"a": ("F32", (2,), bytes(8))})
    write_safetensors(
        folder / "model-00002-of-00002.safetensors", {"b": ("F16", (3,), bytes(6)), "c": ("I8", (1,), b"\x07")}
    )
    index = {
        "metadata": {"total_size": 15},
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
        },
    }
    index.update(changes)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_read_as_one_file(tmp_path):
    with SafeTensorsFile(sharded(tmp_path)) as file:
        assert list(file.entries) == ["a", "b", "c"]
        assert [path.name for path in file.files] == [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ]
        assert file.file_of("c").name == "model-00002-of-00002.safetensors"
        assert file.read("c").tolist() == [7]
        assert file.warnings == []
        assert sha256_of(file.files) != sha256_of(reversed(file.files))


def test_a_wrong_total_size_is_a_warning(tmp_path):
    with SafeTensorsFile(sharded(tmp_path, metadata={"total_size": 16})) as file:
        assert "says 16 bytes, the shards hold 15" in file.warnings[0]


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "gone.safetensors"}, "shard that does not exist"),
        ({"a": "../model-00001-of-00002.safetensors"}, "plain file name"),
        ({"a": "/etc/passwd"}, "plain file name"),
        ({"a": ".."}, "plain file name"),
        ({"a": "C:x"}, "plain file name"),
        ({"a": 3}, "plain file name"),
        ({"a": "model-00002-of-00002.safetensors"}, "its shard lacks"),
        ({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}, "does not place there"),
        ({}, "at least one"),
        ([], "at least one"),
    ],
)
def test_a_broken_index_is_refused(tmp_path, weight_map, words):
    with pytest.raises(FormatError, match=words):
        SafeTensorsFile(sharded(tmp_path, weight_map=weight_map))


def test_one_tensor_in_two_shards_is_refused(tmp_path):
    sharded(tmp_path)
    write_safetensors(
        tmp_path / "model-00001-of-00002.safetensors", {"a": ("F32", (2,), bytes(8)), "b": ("I8", (1,), b"x")}
    )
    with pytest.raises(FormatError, match="does not place there"):
        SafeTensorsFile(tmp_path)


def test_a_folder_gives_its_single_file_and_says_when_an_index_lies_beside_it(tmp_path):
    write_safetensors(sharded(tmp_path) / "model.safetensors", {"only": ("I8", (1,), b"x")})
    with SafeTensorsFile(tmp_path) as file:
        assert list(file.entries) == ["only"]
        assert "both" in file.warnings[0]


def test_a_folder_without_weights_is_explained(tmp_path):
    with pytest.raises(FormatError, match="no SafeTensors file"):
        SafeTensorsFile(tmp_path)


@pytest.mark.parametrize(
    "row", [("Q8_0", (32,), bytes(34)), ("F32", (2,), bytes(7)), ("F32", (2**40, 2**40), b""), ("NEW", (1,), b"x")]
)
def test_the_writer_refuses_what_the_reader_would(tmp_path, row):
    with pytest.raises(FormatError):
        write_safetensors(tmp_path / "x.safetensors", {"a": row})
    assert list(tmp_path.iterdir()) == []
