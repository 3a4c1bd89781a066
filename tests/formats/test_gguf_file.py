"""The GGUF reader: the gguf package is the oracle for good files; hostile ones are refused at once, in one line."""

import struct
import time

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from tests.formats.raw_files import ARCHITECTURE, gguf_bytes, good_gguf, name_bytes, pair, tensor_info, text

SCRATCH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
U32, F32_DATA = struct.Struct("<I"), struct.pack("<4f", 1, 2, 3, 4)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}


def opened(folder, data, *, strict=True):
    path = folder / "x.gguf"
    path.write_bytes(data)
    return GgufFile(path, strict=strict)


def array(key, kind, items, count=None):
    return pair(key, 9, struct.pack("<IQ", kind, len(items) if count is None else count) + b"".join(items))


def test_a_good_file_is_read_row_major(tmp_path):
    with opened(tmp_path, good_gguf()) as file:
        assert file.warnings == []
        assert (file.version, file.alignment) == (3, 32)
        assert file.metadata["llama.block_count"] == 1
        assert file.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
        assert file.value_types["tokenizer.ggml.token_type"] == "array[int32]"
        assert file.entries["b.weight"].shape == (3, 2)
        np.testing.assert_array_equal(file.read("b.weight"), [[0, 1], [2, 3], [4, 5]])


def test_a_file_of_the_other_byte_order_is_named_and_refused(tmp_path):
    writer = GGUFWriter(tmp_path / "x.gguf", "llama", endianess=GGUFEndian.BIG)
    writer.add_tensor("a", np.arange(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FormatError, match="offset 4, version: the file is big endian"):
        GgufFile(tmp_path / "x.gguf")


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(tmp_path, version):
    assert opened(tmp_path, gguf_bytes(version=version)).version == version


def test_every_value_type_is_read_with_its_type(tmp_path):
    pairs = [pair(f"k{kind}", kind, struct.pack("<" + code, 7)) for kind, code in NUMBERS.items()]
    pairs += [pair("yes", 7, b"\1"), pair("text", 8, text("é")), pair("empty", 8, text(""))]
    pairs += [array(f"a{kind}", kind, [struct.pack("<" + code, n) for n in (1, 2)]) for kind, code in NUMBERS.items()]
    pairs += [array("bools", 7, [b"\1", b"\0"]), array("texts", 8, [text("x"), text("")]), array("none", 5, [])]
    with opened(tmp_path, gguf_bytes(pairs)) as file:
        for kind in NUMBERS:
            assert file.metadata[f"k{kind}"] == 7
            assert file.metadata[f"a{kind}"] == [1, 2]
        assert file.metadata["yes"] is True
        assert (file.metadata["text"], file.metadata["empty"]) == ("é", "")
        assert file.metadata["bools"] == [True, False]
        assert file.metadata["texts"] == ["x", ""]
        assert file.metadata["none"] == []
        assert file.value_types["k12"] == "float64"
        assert file.value_types["bools"] == "array[bool]"


def test_the_43_byte_file_with_a_huge_array_is_refused_at_once(tmp_path):
    data = (
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + text("abc")
        + struct.pack("<IIQ", 9, 0, 2**63)[:-8]
        + struct.pack("<Q", 2**63)
    )
    data = data[:43].ljust(43, b"\0")
    start = time.monotonic()
    with pytest.raises(FormatError):
        opened(tmp_path, data)
    assert time.monotonic() - start < 1


INFO = tensor_info()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "past the end"),
        (b"GGUF" + bytes(19), "past the end"),
        (b"GGUX" + bytes(20), "not a GGUF"),
        (gguf_bytes(version=0), "unsupported version"),
        (gguf_bytes(version=1), "unsupported version"),
        (gguf_bytes(version=4), "unsupported version"),
        (gguf_bytes(version=3 << 24), "big endian"),
        (gguf_bytes(pair_count=2**62), "metadata count"),
        (gguf_bytes(pair_count=-1), "metadata count|key"),
        (gguf_bytes(tensor_count=2**62), "tensor count"),
        (gguf_bytes(tensor_count=-1), "tensor count|past"),
        (gguf_bytes([struct.pack("<Q", 2**63) + bytes(40)]), "key 0 length"),
        (gguf_bytes([pair("k", 8, struct.pack("<Q", 2**63) + bytes(40))]), "larger than the file allows"),
        (gguf_bytes([pair("k", 8, struct.pack("<Q", 41) + bytes(8))], alignment=1), "larger than the file allows"),
        (gguf_bytes([array("k", 0, [b"abc"], 2**63)]), "array length"),
        (gguf_bytes([array("k", 8, [text("a")], 2**61)]), "array length"),
        (gguf_bytes([array("k", 12, [bytes(8)], 2**60)]), "array length"),
        (gguf_bytes([array("k", 9, [bytes(12)])]), "arrays of arrays"),
        (gguf_bytes([pair("k", 13, bytes(8))]), "unknown value type"),
        (gguf_bytes([array("k", 13, [bytes(8)])]), "unknown array element type"),
        (gguf_bytes([pair("k", 7, b"\2")]), "not a bool"),
        (gguf_bytes([array("k", 7, [b"\1", b"\2"])]), "bool"),
        (gguf_bytes([pair("k", 4, U32.pack(1)), pair("k", 4, U32.pack(1))]), "duplicate key"),
        (gguf_bytes([pair("", 4, U32.pack(1))]), "key is empty"),
        (gguf_bytes([pair("a\nb", 4, U32.pack(1))]), "not printable"),
        (gguf_bytes([pair(b"\xff\xfe", 4, U32.pack(1))]), "UTF-8"),
        (gguf_bytes([pair("k", 8, text(b"\xff"))]), "UTF-8"),
        (gguf_bytes([pair("general.alignment", 4, U32.pack(0))]), "power of two"),
        (gguf_bytes([pair("general.alignment", 4, U32.pack(13))]), "power of two"),
        (gguf_bytes([pair("general.alignment", 8, text("32"))]), "wrong type"),
        (gguf_bytes([pair("general.alignment", 10, struct.pack("<Q", 32))]), "wrong type"),
        (gguf_bytes(infos=[tensor_info(sizes=())], data=F32_DATA), "number of dimensions"),
        (gguf_bytes(infos=[tensor_info(sizes=(1,) * 5)], data=F32_DATA), "number of dimensions"),
        (gguf_bytes(infos=[text("a") + U32.pack(10**6) + bytes(40)], data=F32_DATA), "number of dimensions"),
        (gguf_bytes(infos=[tensor_info(sizes=(2**32, 2**32))], data=F32_DATA), "overflows"),
        (gguf_bytes(infos=[tensor_info(sizes=(2**63,))], data=F32_DATA), "overflows"),
        (gguf_bytes(infos=[tensor_info(sizes=(4, 0))], data=F32_DATA), "dimension is zero"),
        (gguf_bytes(infos=[tensor_info(sizes=(31,), kind=8)], data=bytes(64)), "whole blocks"),
        (gguf_bytes(infos=[tensor_info(sizes=(32, 3), kind=12)], data=bytes(64)), "whole blocks"),
        (gguf_bytes(infos=[tensor_info(kind=43)], data=F32_DATA), "unknown type"),
        (gguf_bytes(infos=[tensor_info(kind=4)], data=F32_DATA), "Q4_2 was removed"),
        (gguf_bytes(infos=[tensor_info(offset=64)], data=F32_DATA), "gap"),
        (gguf_bytes(infos=[tensor_info(offset=4)], data=F32_DATA), "not aligned"),
        (gguf_bytes(infos=[tensor_info(offset=2**64 - 32)], data=F32_DATA), "gap|past the end"),
        (gguf_bytes(infos=[tensor_info("a"), tensor_info("b", offset=0)], data=bytes(64)), "overlaps"),
        (gguf_bytes(infos=[tensor_info("a", offset=32), tensor_info("b", offset=0)], data=bytes(64)), "gap|overlaps"),
        (gguf_bytes(infos=[INFO], data=F32_DATA[:-1]), "data runs past the end"),
        (gguf_bytes(infos=[INFO], data=F32_DATA + bytes(17)), "after the last tensor"),
        (gguf_bytes(infos=[INFO, tensor_info(offset=32)], data=bytes(64)), "duplicate tensor"),
        (gguf_bytes(infos=[tensor_info("n" * 64)], data=F32_DATA), "bad length"),
        (gguf_bytes(infos=[tensor_info("")], data=F32_DATA), "bad length"),
        (gguf_bytes(infos=[tensor_info(b"\xff")], data=F32_DATA), "UTF-8"),
        (gguf_bytes(infos=[tensor_info("../../etc/passwd")], data=F32_DATA), "looks like a path"),
        (gguf_bytes(infos=[tensor_info("/etc/passwd")], data=F32_DATA), "looks like a path"),
        (gguf_bytes([array("tokenizer.ggml.tokens", 5, [bytes(4)])]), "wrong type"),
        (gguf_bytes([array("tokenizer.ggml.merges", 0, [b"a"])]), "wrong type"),
        (gguf_bytes([pair("tokenizer.ggml.tokens", 8, text("a"))]), "wrong type"),
        (
            gguf_bytes([array("tokenizer.ggml.tokens", 8, [text("a")]), array("tokenizer.ggml.scores", 6, [])]),
            "one item per token",
        ),
    ],
    ids=name_bytes,
)
def test_a_broken_rule_is_one_typed_line(tmp_path, data, words):
    with pytest.raises(FormatError, match=words) as caught:
        opened(tmp_path, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        gguf_bytes(infos=[tensor_info("n" * 63)], data=F32_DATA),
        gguf_bytes(infos=[tensor_info(sizes=(1, 1, 1, 1))], data=F32_DATA[:4]),
        gguf_bytes(infos=[INFO], data=F32_DATA + bytes(16)),
        gguf_bytes([pair("general.alignment", 4, U32.pack(64))], [INFO], F32_DATA, alignment=64),
        gguf_bytes([pair("general.alignment", 4, U32.pack(1))], [INFO], F32_DATA, alignment=1),
        gguf_bytes(infos=[tensor_info(sizes=(32,), kind=8)], data=bytes(34)),
    ],
    ids=name_bytes,
)
def test_just_inside_the_rules_is_read(tmp_path, data):
    with opened(tmp_path, data) as file:
        assert file.warnings == []
        for name in file.entries:
            file.read(name)


@pytest.mark.parametrize(
    "data",
    [
        gguf_bytes(infos=[INFO], data=F32_DATA + bytes(100)),
        gguf_bytes(infos=[tensor_info(offset=32)], data=bytes(32) + F32_DATA),
        gguf_bytes(infos=[tensor_info(offset=4)], data=bytes(4) + F32_DATA),
    ],
    ids=name_bytes,
)
def test_odd_layouts_are_readable_leniently_with_a_warning(tmp_path, data):
    with pytest.raises(FormatError):
        opened(tmp_path, data)
    with opened(tmp_path, data, strict=False) as file:
        assert file.warnings
        assert file.read("a").tolist() == [1, 2, 3, 4]


def test_cut_files_are_refused(tmp_path):
    data = good_gguf()
    for size in range(len(data) - 8):
        with pytest.raises(FormatError):
            opened(tmp_path, data[:size])


@SCRATCH
@given(
    st.lists(st.tuples(st.integers(0, len(good_gguf()) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_mutated_files_give_a_format_error_or_open(tmp_path, changes, strict):
    data = bytearray(good_gguf())
    for offset, value in changes:
        data[offset] = value
    said = ""
    try:
        file = opened(tmp_path, bytes(data), strict=strict)
    except FormatError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        assert said.startswith(str(tmp_path))
        return
    with file:
        for name, entry in file.entries.items():
            assert file.raw(name).nbytes == entry.nbytes
            assert entry.offset + entry.nbytes <= len(data)


VALUES = [
    ("llama.block_count", 3, "uint32"),
    ("a.u8", 255, "uint8"),
    ("a.i8", -128, "int8"),
    ("a.u16", 65535, "uint16"),
    ("a.i16", -5, "int16"),
    ("a.i32", -7, "int32"),
    ("a.u64", 2**64 - 1, "uint64"),
    ("a.i64", -(2**63), "int64"),
    ("a.f32", 0.5, "float32"),
    ("a.f64", 0.1, "float64"),
    ("a.yes", True, "bool"),
    ("a.text", "héllo", "string"),
    ("tokenizer.ggml.tokens", ["a", "b", ""], "array[string]"),
    ("tokenizer.ggml.scores", [0.5, -1, 2], "array[float32]"),
    ("tokenizer.ggml.token_type", [1, 3, 1], "array[int32]"),
    ("a.bools", [True, False], "array[bool]"),
    ("a.u16s", [1, 65535], "array[uint16]"),
]
ROWS = [
    ("token_embd.weight", "BF16", (3, 64), 384),
    ("blk.0.attn_q.weight", "Q8_0", (2, 64), 136),
    ("blk.0.attn_norm.weight", "F32", (5,), 20),
    ("blk.0.ffn_up.weight", "F16", (2, 3, 4), 48),
    ("blk.0.ffn_down.weight", "Q4_K", (2, 512), 576),
    ("ids", "I32", (3,), 12),
]


def test_what_we_write_we_and_the_gguf_package_read_the_same(tmp_path):
    random = np.random.default_rng(0)
    rows = [(name, dtype, shape, random.bytes(size)) for name, dtype, shape, size in ROWS]
    path = write_gguf(tmp_path / "x.gguf", "llama", VALUES, [(*row[:3], lambda row=row: row[3]) for row in rows])
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]
    theirs = GGUFReader(path)
    with GgufFile(path) as file:
        assert file.warnings == []
        assert file.typed_metadata() == [("general.architecture", "llama", "string"), *VALUES]
        assert list(file.entries) == [row[0] for row in rows]
        for tensor, (name, dtype, shape, raw) in zip(theirs.tensors, rows, strict=True):
            entry = file.entries[name]
            assert (entry.dtype, entry.shape, file.raw(name).tobytes()) == (dtype, shape, raw)
            assert (tensor.name, tensor.tensor_type.name, tuple(reversed(tensor.shape.tolist()))) == (
                name,
                dtype,
                shape,
            )
            assert (tensor.data_offset, tensor.data.tobytes()) == (entry.offset, raw)
        for key, value, kind in VALUES:
            field = theirs.fields[key]
            assert field.contents() == value
            assert (
                f"array[{field.types[1].name.lower()}]" == kind
                if len(field.types) > 1
                else field.types[0].name.lower() == kind
            )


def test_alignment_and_architecture_rows_of_the_metadata_count(tmp_path):
    metadata = [
        ("general.alignment", 64, "uint32"),
        ("general.architecture", "other", "string"),
        ("a.none", [], "array[int32]"),
    ]
    path = write_gguf(
        tmp_path / "x.gguf", "qwen2", metadata, [("a", "F32", (1,), bytes(4)), ("b", "F32", (1,), bytes(4))]
    )
    with GgufFile(path) as file:
        assert file.alignment == 64
        assert file.entries["b"].offset - file.entries["a"].offset == 64
        assert dict(file.metadata) == {"general.architecture": "qwen2", "general.alignment": 64}


@pytest.mark.parametrize(
    ("metadata", "tensor", "words"),
    [
        ([("k", 1, "u32")], None, "unknown value type"),
        ([("k", -1, "uint32")], None, "not a uint32"),
        ([("k", 2**32, "uint32")], None, "not a uint32"),
        ([("k", 1.5, "int32")], None, "not a int32"),
        ([("k", "1", "float32")], None, "not a float32"),
        ([("k", 1, "bool")], None, "not a bool"),
        ([("k", 1, "string")], None, "not a string"),
        ([("k", [1, "a"], "array[int32]")], None, "not a int32"),
        ([("k", 1, "int32"), ("k", 1, "int32")], None, "given twice"),
        ([("", 1, "int32")], None, "empty"),
        ([], ("a", "APR_Q8", (4,), bytes(8)), "cannot be stored in GGUF"),
        ([], ("a", "Q8_0", (2, 31), bytes(68)), "whole blocks"),
        ([], ("a", "F32", (1,) * 5, bytes(4)), "bad shape"),
        ([], ("a", "F32", (), bytes(4)), "bad shape"),
        ([], ("a", "F32", (0,), b""), "bad shape"),
        ([], ("a", "F32", (2,), bytes(4)), "wrong number of bytes"),
        ([], ("n" * 64, "F32", (1,), bytes(4)), "bad length"),
        ([], ("../a", "F32", (1,), bytes(4)), "looks like a path"),
    ],
)
def test_the_writer_refuses_what_readers_would(tmp_path, metadata, tensor, words):
    with pytest.raises(FormatError, match=words):
        write_gguf(tmp_path / "x.gguf", "llama", metadata, [tensor] if tensor else [])
    assert list(tmp_path.iterdir()) == []


def test_one_tensor_name_twice_is_refused(tmp_path):
    with pytest.raises(FormatError, match="Duplicated"):
        write_gguf(tmp_path / "x.gguf", "llama", [], [("a", "F32", (1,), bytes(4))] * 2)


def split(folder, *, number=1, count=2, tensors=3, second="m-00002-of-00002.gguf"):
    def part(name, index, rows, **more):
        metadata = [("split.no", index, "uint16"), ("split.count", more.get("count", 2), "uint16")]
        metadata.append(("split.tensors.count", tensors, "int32"))
        write_gguf(folder / name, "llama", metadata, rows)

    part("m-00001-of-00002.gguf", 0, [("a", "F32", (1,), struct.pack("<f", 1))])
    rows = [("b", "F32", (1,), struct.pack("<f", 2)), ("c", "F32", (1,), struct.pack("<f", 3))]
    part(second, number, rows, count=count)
    return folder / "m-00001-of-00002.gguf"


def test_a_split_set_reads_as_one_file(tmp_path):
    with GgufFile(split(tmp_path)) as file:
        assert [file.read(name).item() for name in ("a", "b", "c")] == [1, 2, 3]
        assert [path.name for path in file.files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"second": "other.gguf"}, "file of the set is missing"),
        ({"number": 0}, "contradicts its place"),
        ({"count": 3}, "contradicts its place"),
        ({"tensors": 4}, "another number of tensors"),
    ],
)
def test_a_split_set_that_disagrees_is_refused(tmp_path, changes, words):
    with pytest.raises(FormatError, match=words):
        GgufFile(split(tmp_path, **changes))


def test_a_split_set_is_opened_by_any_of_its_files(tmp_path):
    first = split(tmp_path)
    with GgufFile(tmp_path / "m-00002-of-00002.gguf") as file:
        assert file.path == first
        assert [file.read(name).item() for name in ("a", "b", "c")] == [1, 2, 3]
        assert [path.name for path in file.files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
        assert file.metadata["split.no"] == 0
    first.unlink()
    with pytest.raises(FormatError, match=r"the first file of the set is missing \(found m-00001-of-00002\.gguf"):
        GgufFile(tmp_path / "m-00002-of-00002.gguf")


def test_a_file_whose_number_contradicts_its_name_is_refused(tmp_path):
    split(tmp_path, number=0)
    with pytest.raises(FormatError, match="is not the first file of its set"):
        GgufFile(tmp_path / "m-00002-of-00002.gguf")


def test_architecture_only_file_is_legal(tmp_path):
    with opened(tmp_path, gguf_bytes([ARCHITECTURE], alignment=1)) as file:
        assert dict(file.entries) == {}
