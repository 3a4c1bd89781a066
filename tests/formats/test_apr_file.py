"""The APR reader: accepts what writers make, refuses damage anywhere, and reads old files leniently."""

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_layout import pack_header, reseal
from pytest_aprqa.formats.apr_metadata import NAMED_KEYS
from pytest_aprqa.formats.apr_writer import serialize_apr
from pytest_aprqa.formats.errors import FormatError
from tests.formats.raw_files import good_apr, name_bytes

EXAMPLE = Path(__file__).parents[1] / "data" / "apr" / "worked-example.apr"
SCRATCH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
META_AT, INDEX_AT, DATA_AT = 64, 0xC0, 0x100


def saved(folder, data):
    path = folder / "x.apr"
    path.write_bytes(data)
    return path


def opened(folder, data, *, strict=True):
    return AprFile(saved(folder, data), strict=strict)


def patched(data, offset, new, *, seal=True):
    changed = bytearray(data)
    changed[offset : offset + len(new)] = new
    return reseal(changed) if seal else bytes(changed)


def with_metadata(text):
    """A file without tensors whose metadata is exactly TEXT."""
    padded = text + bytes(-len(text) % 64)
    end = 64 + len(padded)
    return reseal(pack_header(0x0400, 0, len(text), end, end) + padded + bytes(4))


def test_the_published_example_is_read():
    with AprFile(EXAMPLE) as file:
        assert file.warnings == []
        assert file.metadata["model_type"] == "stamp-test"
        entry = file.entries["weight"]
        assert (entry.dtype, entry.shape, entry.offset, entry.nbytes) == ("F32", (2, 3), 0x100, 24)
        np.testing.assert_array_equal(file.read("weight"), [[1, 2, 3], [4, 5, 6]])
        assert file.header.checksum == 0x6AE9CAA2
        assert list(file.metadata) == [key for key in NAMED_KEYS if key in file.metadata]


@pytest.mark.parametrize("byte", range(324))
def test_any_flipped_bit_is_refused(tmp_path, byte):
    for bit in range(8):
        data = bytearray(EXAMPLE.read_bytes())
        data[byte] ^= 1 << bit
        with pytest.raises(FormatError):
            opened(tmp_path, bytes(data))


def test_any_cut_is_refused_except_a_cut_footer(tmp_path):
    for size in range(324):
        data = EXAMPLE.read_bytes()[:size]
        if size == 320:
            assert "footer checksum is missing" in opened(tmp_path, data).warnings[0]
            continue
        with pytest.raises(FormatError) as caught:
            opened(tmp_path, data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extra", [1, 3, 64])
def test_bytes_after_the_footer_are_refused(tmp_path, extra):
    with pytest.raises(FormatError, match="footer"):
        opened(tmp_path, EXAMPLE.read_bytes() + bytes(extra))


def test_a_wrong_footer_is_refused_strictly_and_noted_leniently(tmp_path):
    data = patched(EXAMPLE.read_bytes(), DATA_AT, b"\x01", seal=False)
    with pytest.raises(FormatError, match=r"offset 320, footer: checksum does not match"):
        opened(tmp_path, data)
    with opened(tmp_path, data, strict=False) as file:
        assert "checksum does not match" in file.warnings[0]


def test_a_wrong_header_checksum_is_noted_leniently(tmp_path):
    data = patched(EXAMPLE.read_bytes(), 40, bytes(4), seal=False)
    with pytest.raises(FormatError, match="header checksum"):
        opened(tmp_path, data)
    assert any("header checksum" in line for line in opened(tmp_path, data, strict=False).warnings)


@pytest.mark.parametrize(
    ("flags", "words"),
    [(0x0C00, "LAYOUT-002"), (0x0404, "encrypted"), (0x0401, "compression"), (0x0402, "compression")],
)
@pytest.mark.parametrize("strict", [True, False])
def test_flags_that_change_the_meaning_of_the_bytes_are_refused(tmp_path, flags, words, strict):
    with pytest.raises(FormatError, match=words):
        opened(tmp_path, patched(EXAMPLE.read_bytes(), 6, struct.pack("<H", flags)), strict=strict)


@pytest.mark.parametrize("flags", [0x0000, 0x0400, 0x0620])
def test_row_major_and_legacy_flags_are_accepted_silently(tmp_path, flags):
    assert opened(tmp_path, patched(EXAMPLE.read_bytes(), 6, struct.pack("<H", flags))).warnings == []


@pytest.mark.parametrize("flags", [0x0408, 0x0410, 0x8400])
def test_flags_that_promise_more_than_is_read_are_noted(tmp_path, flags):
    assert len(opened(tmp_path, patched(EXAMPLE.read_bytes(), 6, struct.pack("<H", flags))).warnings) == 1


@pytest.mark.parametrize("magic", [b"APRN", b"APR1", b"APR2"])
def test_legacy_files_get_the_hint_to_import_again(tmp_path, magic):
    with pytest.raises(FormatError, match="import the model again"):
        opened(tmp_path, patched(EXAMPLE.read_bytes(), 0, magic))


@pytest.mark.parametrize(
    ("offset", "new", "words"),
    [
        (4, b"\x03", "version"),
        (5, b"\x01", "version"),
        (44, b"\x01", "reserved"),
        (8, struct.pack("<I", 2), "room|runs past|length"),
        (8, struct.pack("<I", 2**32 - 1), "tensor_count"),
        (12, struct.pack("<Q", 65), "metadata_offset|JSON"),
        (12, struct.pack("<Q", 2**64 - 1), "metadata_offset"),
        (20, struct.pack("<I", 2**32 - 1), "past the end"),
        (24, struct.pack("<Q", 2**63), "past the end"),
        (24, struct.pack("<Q", 0x40), "overlap"),
        (24, struct.pack("<Q", 0xC1), "aligned"),
        (32, struct.pack("<Q", 0x80), "overlap"),
        (INDEX_AT, struct.pack("<H", 257), "runs past|length"),
        (INDEX_AT, struct.pack("<H", 0), "length"),
        (INDEX_AT + 2, b"\xff", "UTF-8"),
        (INDEX_AT + 2, b"\0", "control"),
        (INDEX_AT + 8, b"\x02", "dtype code"),
        (INDEX_AT + 8, b"\x01", "size does not match"),
        (INDEX_AT + 9, b"\x09", "dimensions|runs past"),
        (INDEX_AT + 10, struct.pack("<QQ", 2**32, 2**32), "overflows"),
        (INDEX_AT + 10, struct.pack("<Q", 3), "size does not match"),
        (INDEX_AT + 26, struct.pack("<Q", 1), "aligned"),
        (INDEX_AT + 26, struct.pack("<Q", 64), "past the end"),
        (INDEX_AT + 26, struct.pack("<Q", 2**64 - 64), "past the end"),
        (INDEX_AT + 34, struct.pack("<Q", 2**64 - 1), "size does not match"),
    ],
    ids=name_bytes,
)
def test_a_bad_field_is_refused_although_the_checksums_are_right(tmp_path, offset, new, words):
    with pytest.raises(FormatError, match=words):
        opened(tmp_path, patched(EXAMPLE.read_bytes(), offset, new))


def index_of(rows):
    parts = [struct.pack("<H", len(n)) + n + struct.pack("<BBQQQ", c, 1, d, o, s) for n, c, d, o, s in rows]
    return b"".join(parts)


def with_index(rows, data_size):
    meta = b'{"model_type":"t"}'
    index = index_of(rows)
    index_at = 128
    data_at = index_at + len(index) + -len(index) % 64
    head = pack_header(0x0400, len(rows), len(meta), index_at, data_at)
    body = meta + bytes(64 - len(meta)) + index + bytes(-len(index) % 64) + bytes(data_size)
    return reseal(head + body + bytes(4))


def test_unsorted_repeated_and_overlapping_entries_are_refused_and_lenient_takes_the_first(tmp_path):
    good = [(b"a", 0, 1, 0, 4), (b"b", 0, 1, 64, 4)]
    assert opened(tmp_path, with_index(good, 128)).warnings == []
    for rows, words in (
        ([good[1], good[0]], "not sorted"),
        ([good[0], (b"a", 0, 1, 64, 4)], "repeats a name"),
        ([good[0], (b"b", 0, 1, 0, 4)], "overlaps"),
    ):
        data = with_index(rows, 128 if rows[1][3] or rows[0][3] else 64)
        with pytest.raises(FormatError, match=words):
            opened(tmp_path, data)
        with opened(tmp_path, data, strict=False) as file:
            assert any(words in line for line in file.warnings)
            assert file.entries["a"].offset == file.header.data_offset


@pytest.mark.parametrize(("dimensions", "fine"), [(8, True), (9, False)])
def test_dimensions_are_limited_to_eight(tmp_path, dimensions, fine):
    meta = b'{"model_type":"t"}'
    index = struct.pack("<H", 1) + b"a" + struct.pack(f"<BB{dimensions}QQQ", 0, dimensions, *[1] * dimensions, 0, 4)
    index += bytes(128 - len(index))
    data = reseal(pack_header(0x0400, 1, len(meta), 128, 256) + meta + bytes(46) + index + bytes(64) + bytes(4))
    if fine:
        assert opened(tmp_path, data).entries["a"].shape == (1,) * 8
    else:
        with pytest.raises(FormatError, match="too many dimensions"):
            opened(tmp_path, data)


@pytest.mark.parametrize(("length", "fine"), [(256, True), (257, False)])
def test_names_are_limited_to_256_bytes(tmp_path, length, fine):
    data = with_index([(b"n" * length, 0, 1, 0, 4)], 64)
    if fine:
        assert len(opened(tmp_path, data).entries) == 1
    else:
        with pytest.raises(FormatError, match="bad length"):
            opened(tmp_path, data)


def test_a_head_without_bytes_means_tied(tmp_path):
    with opened(tmp_path, with_index([(b"lm_head.weight", 0, 8, 0, 0)], 0)) as file:
        assert file.tied_head == "lm_head.weight"
        assert "tied" in file.warnings[0]
        with pytest.raises(FormatError, match="holds 0 bytes"):
            file.read("lm_head.weight")
    with pytest.raises(FormatError, match="size does not match"):
        opened(tmp_path, with_index([(b"other.weight", 0, 8, 0, 0)], 0))


def test_code_8_is_q4_or_ggml_q8_by_its_size(tmp_path):
    with opened(tmp_path, with_index([(b"a", 8, 64, 0, 36)], 64)) as file:
        assert file.entries["a"].dtype == "APR_Q4"
    with opened(tmp_path, with_index([(b"a", 8, 64, 0, 68)], 128)) as file:
        assert file.entries["a"].dtype == "Q8_0"
        assert "ggml meaning" in file.warnings[0]


def test_ggml_codes_are_read_only_leniently(tmp_path):
    data = with_index([(b"a", 6, 32, 0, 22)], 64)
    with pytest.raises(FormatError, match="size does not match I8"):
        opened(tmp_path, data)
    with opened(tmp_path, data, strict=False) as file:
        assert file.entries["a"].dtype == "Q5_0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"{", "JSON"),
        (b'{"model_type":"\xff"}', "UTF-8"),
        (b'{"a":NaN}', "finite"),
        (b'{"a":1e999}', "finite"),
        (b'{"model_type":null}', "null"),
        (b'{"hidden_size":896.0}', "wrong type"),
        (b'{"n_embd":"8"}', "wrong type"),
        (b'{"a":' * 200_000, "JSON"),
        (b'{"a":1,"a":2}', "duplicate"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested"),
        (b'{"a":' + b"9" * 5000 + b"}", "JSON value"),
    ],
    ids=name_bytes,
)
def test_bad_metadata_is_refused(tmp_path, text, words):
    with pytest.raises(FormatError, match=words):
        opened(tmp_path, with_metadata(text))


def test_metadata_nested_to_the_limit_is_read(tmp_path):
    with opened(tmp_path, with_metadata(b'{"a":' * 64 + b"1" + b"}" * 64)) as file:
        assert list(file.metadata) == ["a"]


def test_metadata_beyond_16_mib_is_refused_strictly(tmp_path):
    limit = 16 * 2**20
    opened(tmp_path, with_metadata(b'{"a":"' + b"x" * (limit - 8) + b'"}'))
    with pytest.raises(FormatError, match="metadata: is too long"):
        opened(tmp_path, with_metadata(b'{"a":"' + b"x" * (limit - 7) + b'"}'))


def test_duplicate_keys_are_noted_leniently_and_the_last_wins(tmp_path):
    with opened(tmp_path, with_metadata(b'{"a":1,"a":2}'), strict=False) as file:
        assert file.metadata["a"] == 2
        assert "duplicate" in file.warnings[0]


def test_an_alias_is_resolved(tmp_path):
    with opened(tmp_path, with_metadata(b'{"n_embd":8,"n_head":2}')) as file:
        assert dict(file.metadata) == {"hidden_size": 8, "num_heads": 2}
        assert file.warnings == []


@pytest.mark.parametrize(
    "text", [b'{"n_head":2,"num_heads":4}', b'{"n_head":2,"num_heads":null}', b'{"n_head":2,"n_heads":2}']
)
def test_two_names_of_one_value_are_refused_strictly_because_the_reference_engine_cannot_run_the_file(tmp_path, text):
    with pytest.raises(FormatError, match="name the same value"):
        opened(tmp_path, with_metadata(text))
    with opened(tmp_path, with_metadata(text), strict=False) as file:
        assert list(file.metadata) == ["num_heads"]
        assert "n_head" in file.warnings[0]


def test_unknown_keys_survive_a_rewrite(tmp_path):
    custom = {"zz": [1, {"a": None}], "model.rope_theta": 0.5, "ключ": "значение"}
    with opened(tmp_path, serialize_apr({"model_type": "t", **custom}, [])) as file:
        again = serialize_apr(file.metadata, [])
        assert {key: json.loads(file.metadata_bytes)[key] for key in custom} == custom
    assert again == saved(tmp_path, again).read_bytes()
    with opened(tmp_path, again) as file:
        assert {key: file.metadata[key] for key in custom} == custom


@SCRATCH
@given(
    st.lists(st.tuples(st.integers(0, len(good_apr()) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_mutated_files_give_a_format_error_or_open(tmp_path, changes, strict):
    data = bytearray(good_apr())
    for offset, value in changes:
        data[offset] = value
    for candidate in (bytes(data), reseal(data)):
        with contextlib.suppress(FormatError), opened(tmp_path, candidate, strict=strict) as file:
            assert all(file.raw(name).size == entry.nbytes for name, entry in file.entries.items())


def test_arrays_outlive_the_file():
    with AprFile(EXAMPLE) as file:
        view = file.raw("weight")
    assert view.tobytes()[:4] == struct.pack("<f", 1)
    assert not view.flags.writeable
    with pytest.raises(FormatError, match="is closed"):
        file.read("weight")
