"""All 22 element types of SafeTensors 0.8: sizes as the reference package counts them, values as torch has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.safetensors_file import SafeTensorsFile, write_safetensors
from tests.formats.raw_files import field, safetensors_bytes

BITS = {
    **dict.fromkeys(["F64", "I64", "U64", "C64"], 64),
    **dict.fromkeys(["F32", "I32", "U32"], 32),
    **dict.fromkeys(["F16", "BF16", "I16", "U16"], 16),
    **dict.fromkeys(["I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"], 8),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    "F4": 4,
}
FLOAT8 = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": getattr(torch, "float8_e8m0fnu", None),  # torch 2.7 and newer
}
COUNT = 8  # a multiple of every group


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_size_of_each_type_is_that_of_the_reference(tmp_path: Path, dtype: str) -> None:
    size = COUNT * BITS[dtype] // 8
    data = safetensors_bytes({"a": field(dtype, (2, COUNT // 2), (0, size))}, bytes(size))
    ((name, theirs),) = safetensors.deserialize(data)
    assert (name, theirs["dtype"], len(theirs["data"])) == ("a", dtype, size)
    with SafeTensorsFile(saved(tmp_path, data)) as file:
        entry = file.entries["a"]
        assert (entry.dtype, entry.shape, entry.nbytes) == (dtype, (2, COUNT // 2), size)
        assert file.raw("a").size == size
    for wrong in (size - 1, size + 1):
        bad = safetensors_bytes({"a": field(dtype, (2, COUNT // 2), (0, wrong))}, bytes(wrong))
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(bad)
        with pytest.raises(FormatError, match=f"{dtype} of shape"):
            SafeTensorsFile(saved(tmp_path, bad))


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_what_we_write_in_each_type_the_reference_reads(tmp_path: Path, dtype: str) -> None:
    raw = bytes(range(COUNT * BITS[dtype] // 8))
    write_safetensors(tmp_path / "x.safetensors", {"a": (dtype, (COUNT,), raw)})
    ((_, theirs),) = safetensors.deserialize((tmp_path / "x.safetensors").read_bytes())
    assert (theirs["dtype"], theirs["shape"], bytes(theirs["data"])) == (dtype, [COUNT], raw)


@pytest.mark.parametrize(("dtype", "group"), [("F4", 2), ("F6_E2M3", 4), ("F6_E3M2", 4)])
def test_packed_types_fill_whole_bytes(tmp_path: Path, dtype: str, group: int) -> None:
    for count in (group - 1, group, group + 1):
        size = -(-count * BITS[dtype] // 8)
        data = safetensors_bytes({"a": field(dtype, (count,), (0, size))}, bytes(size))
        if count == group:
            assert SafeTensorsFile(saved(tmp_path, data)).entries["a"].nbytes == size
            continue
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(data)
        with pytest.raises(FormatError, match=rf"do not fill whole bytes \(found {count}, limit a multiple of {group}"):
            SafeTensorsFile(saved(tmp_path, data))
        with pytest.raises(FormatError, match="whole bytes"):
            write_safetensors(tmp_path / "y.safetensors", {"a": (dtype, (count,), bytes(size))})


@pytest.mark.parametrize("dtype", sorted(FLOAT8))
def test_every_eight_bit_float_equals_torch(tmp_path: Path, dtype: str) -> None:
    if FLOAT8[dtype] is None:
        pytest.skip(f"this torch has no {dtype}")
    raw = np.arange(256, dtype=np.uint8)
    write_safetensors(tmp_path / "x.safetensors", {"a": (dtype, (256,), raw)})
    with SafeTensorsFile(tmp_path / "x.safetensors") as file:
        expected = torch.from_numpy(raw).view(FLOAT8[dtype]).to(torch.float32).numpy()
        np.testing.assert_array_equal(file.read("a"), expected)


@pytest.mark.parametrize("dtype", sorted(set(BITS) - codecs.DECODABLE))
def test_types_without_a_decoder_say_so(tmp_path: Path, dtype: str) -> None:
    size = COUNT * BITS[dtype] // 8
    write_safetensors(tmp_path / "x.safetensors", {"a": (dtype, (COUNT,), bytes(size))})
    with SafeTensorsFile(tmp_path / "x.safetensors") as file:
        for read in (file.read, file.read_native, file.chunks):
            with pytest.raises(FormatError, match=rf"tensor 'a': (type )?.*{dtype}"):
                list(read("a"))


def test_the_types_without_a_decoder_are_the_packed_ones_and_complex() -> None:
    assert set(BITS) - codecs.DECODABLE == {"F4", "F6_E2M3", "F6_E3M2", "C64"}


@pytest.mark.parametrize("padding", [b"", b" ", b" " * 7, b"\n\t \r"])
def test_white_space_after_the_header_is_legal(tmp_path: Path, padding: bytes) -> None:
    data = safetensors_bytes(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' + padding, b"\x01")
    assert len(safetensors.deserialize(data)) == 1
    assert SafeTensorsFile(saved(tmp_path, data)).entries["a"].nbytes == 1


@pytest.mark.parametrize("padding", [b"\0", b"x", b"}", b"\xa0"])
def test_anything_else_after_the_header_is_refused(tmp_path: Path, padding: bytes) -> None:
    """A second document inside the header is how a file is two files at once."""
    data = safetensors_bytes(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' + padding, b"\x01")
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(data)
    with pytest.raises(FormatError, match="header"):
        SafeTensorsFile(saved(tmp_path, data))


@pytest.mark.parametrize("prefix", [b" ", b"\xef\xbb\xbf"])
def test_nothing_may_come_before_the_header(tmp_path: Path, prefix: bytes) -> None:
    with pytest.raises(FormatError, match="does not begin with"):
        SafeTensorsFile(saved(tmp_path, safetensors_bytes(prefix + b"{}")))
