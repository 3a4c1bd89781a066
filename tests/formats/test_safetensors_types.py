"""All 22 element types of SafeTensors 0.8: sizes as the reference package counts them, values as torch has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.safetensors_file import SafeTensorsFile, write_safetensors
from pytest_aprqa.numerics.tensor_error import compare_tensors
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


def test_every_four_bit_float_is_the_number_of_its_table(tmp_path: Path) -> None:
    """Sign, two bits of exponent with bias 1, one bit of mantissa (OCP MX 1.0, table 4); the low half comes first."""
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    raw = np.arange(256, dtype=np.uint8)
    write_safetensors(tmp_path / "x.safetensors", {"a": ("F4", (2, 256), raw)})
    with SafeTensorsFile(tmp_path / "x.safetensors") as file:
        expected = np.array([[table[byte & 15], table[byte >> 4]] for byte in range(256)], np.float32).reshape(2, 256)
        assert file.read("a").tobytes() == expected.tobytes(), "the sign of zero is a bit too"
        np.testing.assert_array_equal(np.concatenate(list(file.chunks("a", 6))), expected.ravel())
        assert (file.sums("a").count, file.sums("a").zeros) == (512, 64)


def complex_numbers() -> np.ndarray:
    numbers = np.random.default_rng(5).standard_normal((3, 7, 2)).astype(np.float32)
    numbers[0, 0] = (np.inf, -0.0)
    return numbers


def test_complex_numbers_are_pairs_of_values(tmp_path: Path) -> None:
    parts = complex_numbers()
    numbers = parts[..., 0] + 1j * parts[..., 1].astype(np.complex64)
    data = safetensors.numpy.save({"a": parts.view(np.complex64)[..., 0]})
    with SafeTensorsFile(saved(tmp_path, data)) as file:
        entry = file.entries["a"]
        assert (entry.dtype, entry.shape, entry.nbytes) == ("C64", (3, 7), 168)
        assert file.read("a").tobytes() == parts.tobytes()
        np.testing.assert_array_equal(file.read_native("a")[1:], numbers[1:])
        assert np.concatenate(list(file.chunks("a", 5))).tobytes() == parts.tobytes()
        sums = file.sums("a")
        finite = parts[np.isfinite(parts)].astype(np.float64)
        assert (sums.count, sums.infinities, sums.zeros) == (42, 1, 1)
        assert sums.mean == pytest.approx(finite.mean(), rel=1e-6)
        assert sums.std == pytest.approx(finite.std(), rel=1e-6)
        assert CanonicalTensors(file, "qwen2", 1, 1).entry("a").shape == (3, 7, 2)


@pytest.mark.parametrize("moved", [0, 1])
def test_a_changed_part_of_a_complex_number_is_seen(tmp_path: Path, moved: int) -> None:
    parts = np.nan_to_num(complex_numbers(), posinf=1)
    changed = parts.copy()
    changed[2, 3, moved] += 1
    for name, values in (("x", parts), ("y", changed), ("z", parts[..., 0])):
        kind = "C64" if values.ndim == 3 else "F32"
        write_safetensors(tmp_path / f"{name}.safetensors", {"a": (kind, (3, 7), values.tobytes())})
    with (
        SafeTensorsFile(tmp_path / "x.safetensors") as one,
        SafeTensorsFile(tmp_path / "y.safetensors") as other,
        SafeTensorsFile(tmp_path / "z.safetensors") as real,
    ):
        x, y, z = (CanonicalTensors(file, "qwen2", 1, 1) for file in (one, other, real))
        energy = float((parts.astype(np.float64) ** 2).sum())
        assert compare_tensors(x, y, "a").nmse == pytest.approx(1 / energy, rel=1e-5)
        assert compare_tensors(x, x, "a").nmse == 0
        assert compare_tensors(x, z, "a").cause == "shape [3, 7], source has [3, 7, 2]"


@pytest.mark.parametrize("dtype", sorted(codecs.UNDEFINED))
def test_types_whose_bits_have_no_defined_order_say_so(tmp_path: Path, dtype: str) -> None:
    """The format stores them and leaves the order of their bits to kernels (safetensors/safetensors#611)."""
    size = COUNT * BITS[dtype] // 8
    write_safetensors(tmp_path / "x.safetensors", {"a": (dtype, (COUNT,), bytes(size))})
    with SafeTensorsFile(tmp_path / "x.safetensors") as file:
        for read in (file.read, file.read_native, file.chunks, file.sums):
            with pytest.raises(FormatError, match=rf"tensor 'a': cannot decode {dtype}: .* leaves open"):
                list(read("a"))
    with pytest.raises(ValueError, match=f"cannot decode {dtype}: .* leaves open"):
        codecs.decode(dtype, np.zeros(size, np.uint8), (COUNT,))


def test_every_other_type_is_decoded() -> None:
    assert set(BITS) - codecs.DECODABLE == {"F6_E2M3", "F6_E3M2"} == set(codecs.UNDEFINED)


@pytest.mark.parametrize("dtype", sorted(name for name in BITS if name[0] in "IU" or name == "BOOL"))
def test_integers_of_every_width_are_their_numbers(tmp_path: Path, dtype: str) -> None:
    native = np.dtype("?" if dtype == "BOOL" else dtype.replace("I", "int").replace("U", "uint").lower())
    least, most = (0, 1) if dtype == "BOOL" else (np.iinfo(native).min, np.iinfo(native).max)
    values = np.array([least, most, 0, 1, most // 2], native)
    data = safetensors.numpy.save({"a": values})
    with SafeTensorsFile(saved(tmp_path, data)) as file:
        assert file.entries["a"].dtype == dtype
        np.testing.assert_array_equal(file.read_native("a"), values)
        np.testing.assert_array_equal(file.read("a"), values.astype(np.float32))


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
