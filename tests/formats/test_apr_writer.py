"""The APR writer reproduces the published example files byte for byte, and refuses what readers would refuse."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_layout import MAX_METADATA_BYTES
from pytest_aprqa.formats.apr_metadata import canonical_metadata_json, float_text
from pytest_aprqa.formats.apr_writer import serialize_apr, write_apr
from pytest_aprqa.formats.errors import FormatError

DATA = Path(__file__).parents[1] / "data" / "apr"
ZERO_TOTALS = {"total_size": 0, "param_count": 0}
STAMP = {"model_type": "stamp-test", **ZERO_TOTALS}
SIX = np.arange(1, 7, dtype="<f4")
PROVENANCE = {"license": "Apache-2.0", "data_source": "teacher-only", "data_license": "Apache-2.0"}
GOLDEN = {
    "model_type": "linear_regression",
    "name": "golden-v2",
    "version": "0.0.0-golden",
    "created_at": "1700000000",
    "total_size": 0,
    "param_count": 8,
}
GOLDEN_TENSORS = [
    ("weights", "F32", (8,), np.array([1, 2, 0.5, -0.5, 4, -2, 0.25, 8], "<f4")),
    ("bias", "F32", (1,), np.array([0.125], "<f4")),
]


@pytest.mark.parametrize(
    ("metadata", "tensors", "size", "digest"),
    [
        (
            STAMP,
            [("weight", "F32", (2, 3), SIX)],
            324,
            "69db97b4eed907f7730b01b68a2920a854ff6d5a326187486e21d3db117e2460",
        ),
        (
            STAMP,
            [("weight", "F32", (2, 3), bytes(24))],
            324,
            "04d4ca7f967f11d0ba0cecd270463bca632f117c154f18cc45c341f9962a1eca",
        ),
        (
            {**STAMP, **PROVENANCE},
            [("weight", "F32", (2, 3), SIX)],
            388,
            "2f72485909efdc24c167c7dce444f2cb2caeccb498a0e901869f53ee6d0bb7ef",
        ),
        ({"model_type": "t"}, [], 196, "83c0386b52d873f00f58267c23f801872c22f304abb7af910aa707875889c639"),
        (GOLDEN, GOLDEN_TENSORS, 516, "047642c8a09f5807466374928c28e370855ddb96f527d4445ee359a591594c2c"),
    ],
    ids=["worked-example", "zero-data", "provenance", "no-tensors", "golden-516"],
)
def test_published_files_are_reproduced_byte_for_byte(metadata, tensors, size, digest):
    data = serialize_apr(metadata, tensors)
    assert len(data) == size
    assert hashlib.sha256(data).hexdigest() == digest


def test_the_committed_example_equals_our_output(tmp_path):
    write_apr(tmp_path / "x.apr", STAMP, [("weight", "F32", (2, 3), lambda: SIX)])
    assert (tmp_path / "x.apr").read_bytes() == (DATA / "worked-example.apr").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["x.apr"]


def test_totals_are_counted_when_not_given(tmp_path):
    data = serialize_apr({"model_type": "t"}, [("a", "F16", (3,), bytes(6)), ("b", "APR_Q8", (5,), bytes(9))])
    (tmp_path / "x").write_bytes(data)
    with AprFile(tmp_path / "x") as file:
        assert (file.metadata["total_size"], file.metadata["param_count"]) == (15, 8)


def test_flags_say_quantised_and_vocabulary(tmp_path):
    def flags(metadata, tensors):
        (tmp_path / "x").write_bytes(serialize_apr({"model_type": "t", **metadata}, tensors))
        with AprFile(tmp_path / "x") as file:
            return file.header.flags

    assert flags({}, [("a", "F32", (1,), bytes(4))]) == 0x0400
    assert flags({}, [("a", "APR_Q4", (3,), bytes(18))]) == 0x0420
    assert flags({"tokenizer.vocabulary": ["a"]}, []) == 0x0600
    assert flags({"tokenizer.vocabulary": []}, []) == 0x0400


def test_every_stored_type_comes_back_bit_for_bit(tmp_path):
    random = np.random.default_rng(1)
    rows = []
    for number, (dtype, shape, size) in enumerate(
        [
            ("F32", (3, 5), 60),
            ("F16", (7,), 14),
            ("BF16", (2, 2), 8),
            ("F64", (2,), 16),
            ("I32", (2,), 8),
            ("I64", (1,), 8),
            ("I8", (3,), 3),
            ("U8", (4,), 4),
            ("Q4_K", (2, 512), 576),
            ("Q6_K", (1, 256), 210),
            ("APR_Q4", (33,), 36),
            ("APR_Q8", (10,), 14),
            ("F32", (), 4),
            ("F32", (0, 4), 0),
            ("APR_Q8", (0,), 0),
            ("F32", (1,) * 8, 4),
        ]
    ):
        rows.append((f"t{number}", dtype, shape, random.bytes(size)))
    write_apr(tmp_path / "x.apr", {"model_type": "t"}, reversed(rows), disputed=True)
    with AprFile(tmp_path / "x.apr") as file:
        assert file.warnings == []
        assert list(file.entries) == sorted(name for name, *_ in rows)
        for name, dtype, shape, raw in rows:
            entry = file.entries[name]
            assert (entry.dtype, entry.shape, file.raw(name).tobytes()) == (dtype, shape, raw)
            assert entry.offset % 64 == 0
            assert file.read(name).shape == shape


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("n" * 257, "F32", (1,), bytes(4)), "bad length"),
        (("é" * 129, "F32", (1,), bytes(4)), "bad length"),
        (("", "F32", (1,), bytes(4)), "bad length"),
        (("../x", "F32", (1,), bytes(4)), "looks like a path"),
        (("a", "Q8_0", (32,), bytes(34)), "cannot be stored in APR"),
        (("a", "F64", (1,), bytes(8)), "code 3: it may be taken for Q4_1"),
        (("a", "I8", (1,), bytes(1)), "code 6: it may be taken for Q5_0"),
        (("a", "U8", (1,), bytes(1)), "code 7: it may be taken for Q5_1"),
        (("a", "Q4_K", (2, 255), bytes(288)), "multiple of 256"),
        (("a", "F32", (1,) * 9, bytes(4)), "too many dimensions"),
        (("a", "F32", (2**32, 2**32), b""), "overflows"),
        (("a", "F32", (-1,), b""), "negative"),
        (("a", "F32", (2,), bytes(7)), "wrong number of bytes"),
    ],
)
def test_tensors_that_readers_would_refuse_are_not_written(tmp_path, row, words):
    with pytest.raises(FormatError, match=words):
        write_apr(tmp_path / "x.apr", {"model_type": "t"}, [row])
    assert list(tmp_path.iterdir()) == []


def test_longest_name_and_k_quant_rows_of_whole_blocks_are_written():
    rows = [("n" * 256, "F32", (1,), bytes(4)), ("q", "Q4_K", (1, 256), bytes(144))]
    assert b"n" * 256 in serialize_apr({"model_type": "t"}, rows)


def test_one_name_twice_is_refused():
    with pytest.raises(FormatError, match="given twice"):
        serialize_apr({"model_type": "t"}, [("a", "F32", (1,), bytes(4))] * 2)


def test_metadata_limit_is_16_mib():
    overhead = len(canonical_metadata_json("x", {"model_type": "t", "z": ""}))
    serialize_apr({"model_type": "t", **ZERO_TOTALS, "z": "a" * (MAX_METADATA_BYTES - overhead)}, [])
    with pytest.raises(FormatError, match="metadata: is too long"):
        serialize_apr({"model_type": "t", **ZERO_TOTALS, "z": "a" * (MAX_METADATA_BYTES - overhead + 1)}, [])


def test_metadata_keys_come_in_order_with_custom_keys_sorted():
    given_ = {"zeta": 1, "rope_theta": 1e6, "alpha": [1, "é"], "model_type": "m", "special_tokens": {"eos_token": "x"}}
    text = canonical_metadata_json("x", {**given_, "rms_norm_eps": 1e-6, "name": None})
    assert text.decode() == (
        '{"model_type":"m","license":null,"data_source":null,"data_license":null,"total_size":0,"param_count":0,'
        '"special_tokens":{"bos_token":null,"eos_token":"x","unk_token":null,"pad_token":null,"im_start_token":null,'
        '"im_end_token":null},"rope_theta":1000000.0,"rms_norm_eps":0.000001,"alpha":[1,"é"],"zeta":1}'
    )


def test_an_alias_becomes_the_canonical_key_but_not_beside_it():
    assert b'"hidden_size":8' in canonical_metadata_json("x", {"model_type": "m", "n_embd": 8})
    for both in ({"n_embd": 8, "hidden_size": 8}, {"n_embd": None, "d_model": 8}):
        with pytest.raises(FormatError, match="name the same value"):
            canonical_metadata_json("x", {"model_type": "m", **both})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", None),
        ("total_size", None),
        ("hidden_size", 896.0),
        ("hidden_size", True),
        ("hidden_size", -1),
        ("name", 3),
        ("rope_theta", "1e6"),
        ("rope_theta", float("inf")),
        ("rope_theta", 1e39),
        ("total_size", 2**64),
        ("rope_type", 2**32),
        ("custom", float("nan")),
        ("custom", object()),
        ("custom", "\ud800"),
    ],
)
def test_metadata_of_a_wrong_type_is_refused(key, value):
    with pytest.raises(FormatError, match="metadata"):
        canonical_metadata_json("x", {"model_type": "m", key: value})


@pytest.mark.parametrize(("key", "value"), [("total_size", 2**64 - 1), ("rope_type", 2**32 - 1), ("hidden_size", None)])
def test_metadata_just_inside_its_type_is_written(key, value):
    stored = json.loads(canonical_metadata_json("x", {"model_type": "m", key: value}))
    assert stored.get(key) == value


@pytest.mark.parametrize(
    ("value", "single", "text"),
    [
        (1000000.0, True, "1000000.0"),
        (1e-6, True, "0.000001"),
        (1e-7, True, "1e-7"),
        (1e12, True, "1000000000000.0"),
        (1e13, True, "1e13"),
        (1.5e-7, True, "1.5e-7"),
        (0.1, True, "0.1"),
        (10000, True, "10000.0"),
        (0.0, True, "0.0"),
        (-0.0, False, "-0.0"),
        (float(np.float32(1e-6)), False, "9.999999974752427e-7"),
        (1e-5, False, "0.00001"),
        (1e15, False, "1000000000000000.0"),
        (1e16, False, "1e16"),
        (-2.5, False, "-2.5"),
    ],
)
def test_floats_are_written_as_rust_writes_them(value, single, text):
    assert float_text(value, single=single) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_reads_back_exactly(value):
    assert json.loads(float_text(value)) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_single_reads_back_exactly(value):
    assert np.float32(json.loads(float_text(value, single=True))) == np.float32(value)
