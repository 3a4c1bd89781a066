"""The conformance checklist of the APR v2 container description (its section 14), one test per line, the line quoted.

Vectors of sections 5 and 13 are those of the same description; files are made here, byte by byte where it matters.
"""

from __future__ import annotations

import hashlib
import json
import resource
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_layout import align64, pack_header, reseal
from pytest_aprqa.formats.apr_metadata import ALIASES
from pytest_aprqa.formats.apr_writer import DISPUTED, WRITABLE, serialize_apr, write_apr
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from tests.formats.apr_builder import Row, apr_bytes, saved

EXAMPLE = (Path(__file__).parents[1] / "data" / "apr" / "worked-example.apr").read_bytes()
SYNONYMS = [(name, alias) for name, aliases in ALIASES.items() for alias in aliases]


def sample(dtype: str) -> bytes:
    """256 legal elements of DTYPE: encoded from values where an encoder exists, else from a fixed pattern."""
    values = np.linspace(-3, 3, 256, dtype=np.float32)
    if dtype in codecs.ENCODABLE:
        return codecs.encode(dtype, values)
    return bytes(range(codecs.tensor_nbytes(dtype, (256,))))


@pytest.mark.parametrize("dtype", sorted(WRITABLE))
def test_line_01_round_trip(tmp_path: Path, dtype: str) -> None:
    """1. "Round-trip: parse(write(x)) == x for every dtype; header re-serialisation bit-exact." """
    raw = sample(dtype)
    rows = [("x", dtype, (256,), raw)]
    data = serialize_apr({"model_type": "t", "hidden_size": 256}, rows, disputed=dtype in DISPUTED)
    with AprFile(saved(tmp_path, data)) as file:
        entry, header = file.entries["x"], file.header
        assert (entry.dtype, entry.shape, file.raw("x").tobytes()) == (dtype, (256,), raw)
        metadata = {key: value for key, value in file.metadata.items() if value is not None}
        again = [(entry.name, entry.dtype, entry.shape, file.raw("x"))]
        assert serialize_apr(metadata, again, disputed=dtype in DISPUTED) == data
    fields = (header.flags, header.tensor_count, header.metadata_size, header.index_offset, header.data_offset)
    assert pack_header(*fields) == data[:64]


@pytest.mark.parametrize("byte", [*range(40), *range(44, 64)])
def test_line_02_header_bits(tmp_path: Path, byte: int) -> None:
    """2. "Flip any one bit in header bytes 0–39 or 44–63 → refused." """
    for bit in range(8):
        data = bytearray(EXAMPLE)
        data[byte] ^= 1 << bit
        with pytest.raises(FormatError) as caught:
            AprFile(saved(tmp_path, reseal(data, header=False)))
        assert caught.value.where.startswith(("offset 0", "offset 40"))


def test_line_03_alignment_order_padding_and_length(tmp_path: Path) -> None:
    """3. "Every `data_offset + offset` % 64 == 0; index sorted; padding bytes zero; file length formula holds." """
    shapes = {"é": (3, 5), "z.weight": (7,), "a": (), "b": (0, 4), "Z": (16,)}
    rows = [(name, "F32", shape, np.full(shape, -1, "<f4")) for name, shape in shapes.items()]
    data = serialize_apr({"model_type": "t"}, rows)
    with AprFile(saved(tmp_path, data)) as file:
        names = [name.encode() for name in file.entries]
        assert names == sorted(names)
        entries, header = list(file.entries.values()), file.header
    assert all(entry.offset % 64 == 0 for entry in entries)
    assert len(data) == header.data_offset + sum(align64(entry.nbytes) for entry in entries) + 4
    index_bytes = sum(2 + len(e.name.encode()) + 2 + 8 * len(e.shape) + 16 for e in entries)
    assert header.index_offset == 64 + align64(header.metadata_size)
    assert header.data_offset == header.index_offset + align64(index_bytes)
    spans = [(64 + header.metadata_size, header.index_offset), (header.index_offset + index_bytes, header.data_offset)]
    spans += [(e.offset + e.nbytes, e.offset + align64(e.nbytes)) for e in entries]
    assert not any(any(data[start:end]) for start, end in spans)


@pytest.mark.parametrize(
    ("at", "where"), [(0xB0, "metadata padding"), (0xF0, "index padding"), (0x118, "padding of tensor")]
)
def test_line_03_padding_that_is_not_zero_is_refused(tmp_path: Path, at: int, where: str) -> None:
    """3. "... padding bytes zero ...": bytes hidden there are found although both checksums are right."""
    data = bytearray(EXAMPLE)
    data[at] = 1
    with pytest.raises(FormatError, match=where):
        AprFile(saved(tmp_path, reseal(data)))
    with AprFile(saved(tmp_path, reseal(data)), strict=False) as file:
        assert len(file.warnings) == 1
        np.testing.assert_array_equal(file.read("weight"), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(("extra", "refused"), [(0, False), (64, True), (2**24, True)])
def test_line_03_sections_lie_no_further_apart_than_alignment_needs(tmp_path: Path, extra: int, refused: bool) -> None:
    """3. "... file length formula holds": room between metadata and index could hide anything, of any length."""
    meta = b'{"model_type":"t"}'
    at = 128 + extra
    data = reseal(pack_header(0x0400, 0, len(meta), at, at) + meta.ljust(at - 64, b"\0") + bytes(4))
    if refused:
        with pytest.raises(FormatError, match=rf"metadata padding: is longer .* \(found {46 + extra}, limit 63\)"):
            AprFile(saved(tmp_path, data))
    else:
        AprFile(saved(tmp_path, data)).close()


def test_line_03_bytes_between_tensors_are_noted(tmp_path: Path) -> None:
    """3. "... file length formula holds": data that no index entry names, as a dropped tensor leaves behind."""
    rows = [Row(name, 0, (16,), bytes(64)) for name in "abc"]
    sound = apr_bytes(rows)
    with AprFile(saved(tmp_path, sound)) as file:
        assert file.warnings == []
    at, data_at = file.header.index_offset, file.header.data_offset
    index = sound[at : at + 29] + sound[at + 58 : at + 87]  # an entry: 2 + 1 + 2 + 8 + 16 bytes
    start = pack_header(file.header.flags, 2, file.header.metadata_size, at, at + 64) + sound[64:at]
    data = start + index.ljust(64, b"\0") + sound[data_at:]
    with AprFile(saved(tmp_path, reseal(data))) as file:
        assert list(file.entries) == ["a", "c"]
        assert len(file.warnings) == 1
        assert "tensor 'c': 64 bytes before it belong to no tensor" in file.warnings[0]


@pytest.mark.parametrize("strict", [True, False])
def test_line_04_layout_bits(tmp_path: Path, strict: bool) -> None:
    """4. "Bit 11 → refused; bits 10+11 clear → accepted." """
    for flags, refused in ((0x0800, True), (0x0C00, True), (0x0000, False), (0x0400, False)):
        data = bytearray(EXAMPLE)
        struct.pack_into("<H", data, 6, flags)
        path = saved(tmp_path, reseal(data))
        if refused:
            with pytest.raises(FormatError, match="LAYOUT-002"):
                AprFile(path, strict=strict)
        else:
            with AprFile(path, strict=strict) as file:
                assert file.warnings == []


@pytest.mark.parametrize(("canonical", "alias"), SYNONYMS)
def test_line_05_alias_beside_its_canonical_key(canonical: str, alias: str) -> None:
    """5. "Metadata with alias + canonical → writer refuses." """
    value = 1e-6 if canonical == "rms_norm_eps" else 8
    with pytest.raises(FormatError, match=f"{canonical} and {alias}"):
        serialize_apr({"model_type": "t", canonical: value, alias: value}, [])
    with pytest.raises(FormatError, match="metadata"):
        serialize_apr({"model_type": "t", canonical: None, alias: value}, [])
    data = serialize_apr({"model_type": "t", alias: value}, [])
    written = json.loads(data[64 : 64 + int.from_bytes(data[20:24], "little")])
    assert canonical in written
    assert alias not in written


def test_line_06_unknown_keys_survive_a_rewrite(tmp_path: Path) -> None:
    """6. "Unknown top-level keys survive a rewrite with the same JSON value." """
    unknown = {"z": [1, 2.5, None, {"a": "ü"}], "model.rope_theta": 9.999999974752427e-7, "ключ": True, "n": 2**53 + 1}
    text = json.dumps({"model_type": "t", "total_size": 0, "param_count": 0, **unknown}, ensure_ascii=False).encode()
    with AprFile(saved(tmp_path, apr_bytes([], metadata=text))) as file:
        rewritten = serialize_apr(file.metadata, [])
    stored = json.loads(rewritten[64 : 64 + int.from_bytes(rewritten[20:24], "little")])
    assert {key: stored[key] for key in unknown} == unknown


@pytest.mark.parametrize(("dtype", "block"), [("Q4_K", 144), ("Q6_K", 210)])
def test_line_07_k_quants_equal_the_gguf_package(dtype: str, block: int) -> None:
    """7. "Q4_K/Q6_K decode equals the gguf package bit-for-bit in f32 ..." """
    raw = np.random.default_rng(7).integers(0, 256, (512, block), dtype=np.uint8)
    for at in (0, 2) if dtype == "Q4_K" else (208,):  # scales of all signs and sizes, but finite
        raw[:, at + 1] &= 0xBB
    expected = gguf.quants.dequantize(raw.reshape(-1), gguf.GGMLQuantizationType[dtype])
    ours = codecs.decode(dtype, raw.reshape(-1), (512, 256))
    assert np.isfinite(expected).all()
    assert ours.tobytes() == np.ascontiguousarray(expected, np.float32).tobytes()


@pytest.mark.parametrize(("dtype", "block"), [("Q4_K", 144), ("Q6_K", 210)])
@pytest.mark.parametrize(("columns", "blocks"), [(1, 1), (255, 1), (256, 1), (257, 2), (896, 4)])
def test_line_07_sizes_of_rows_that_do_not_fill_blocks(
    tmp_path: Path, dtype: str, block: int, columns: int, blocks: int
) -> None:
    """7. "... sizes follow 5.7 for cols % 256 ≠ 0": rows padded one by one, and decoded row by row."""
    rows = 3
    raw = np.random.default_rng(8).integers(0, 256, (rows, blocks * block), dtype=np.uint8)
    raw.reshape(-1, block)[:, [1, 3] if dtype == "Q4_K" else [209]] = 0x24
    code = {"Q4_K": 12, "Q6_K": 14}[dtype]
    with AprFile(saved(tmp_path, apr_bytes([Row("x", code, (rows, columns), raw.tobytes())]))) as file:
        assert file.entries["x"].nbytes == rows * blocks * block
        whole = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[dtype])
        np.testing.assert_array_equal(file.read("x"), whole[:, :columns])
    short = raw.tobytes()[:-block]
    with pytest.raises(FormatError, match="size does not match"):
        AprFile(saved(tmp_path, apr_bytes([Row("x", code, (rows, columns), short)])))
    if columns % 256:
        with pytest.raises(FormatError, match="multiple of 256"):
            serialize_apr({"model_type": "t"}, [("x", dtype, (rows, columns), raw.tobytes())])


def test_line_08_gguf_to_apr_and_back(tmp_path: Path) -> None:
    """8. "GGUF → APR → GGUF keeps bytes of dtypes 0, 1, 12, 14 identical and dims reversed twice." """
    shape, random = (6, 512), np.random.default_rng(9)
    names = {"F32": "token_embd.weight", "F16": "blk.0.attn_q.weight", "Q4_K": "blk.0.ffn_up.weight"}
    names["Q6_K"] = "output.weight"
    rows = [(name, dtype, shape, random.bytes(codecs.tensor_nbytes(dtype, shape))) for dtype, name in names.items()]
    first = write_gguf(tmp_path / "first.gguf", "llama", [], rows)
    with GgufFile(first) as file:
        tensors = [(e.name, e.dtype, e.shape, file.raw(e.name)) for e in file.entries.values()]
        write_apr(tmp_path / "x.apr", {"model_type": "llama"}, tensors)
    with AprFile(tmp_path / "x.apr") as file:
        assert {entry.shape for entry in file.entries.values()} == {shape}  # row-major: outermost first
        back = [(e.name, e.dtype, e.shape, file.raw(e.name)) for e in file.entries.values()]
        second = write_gguf(tmp_path / "second.gguf", "llama", [], back)
    stored = gguf.GGUFReader(second)
    found = {tensor.name: tensor for tensor in stored.tensors}
    for name, dtype, _, raw in rows:
        assert found[name].tensor_type.name == dtype
        assert list(found[name].shape) == [512, 6]  # innermost first, as GGUF writes dims
        assert found[name].data.tobytes() == raw


@pytest.mark.parametrize("magic", [b"APRN", b"APR1", b"APR2"])
def test_line_09_legacy_magic(tmp_path: Path, magic: bytes) -> None:
    """9. "Files under a legacy magic give the re-import hint, not a crash ..." (any length, any content)."""
    for rest in (b"", bytes(28), b"\xff" * 3244, EXAMPLE[4:]):
        for strict in (True, False):
            with pytest.raises(FormatError, match="import the model again"):
                AprFile(saved(tmp_path, magic + rest), strict=strict)


@pytest.mark.parametrize("cut", [0, 3, 4, 63, 64, 0xAF, 0xB0, 0xC0, 0xEF, 0x100, 0x117, 0x118, 0x13F])
@pytest.mark.parametrize("strict", [True, False])
def test_line_09_cut_at_every_boundary(tmp_path: Path, cut: int, strict: bool) -> None:
    """9. "... truncated files at every section boundary give a typed error." """
    path = saved(tmp_path, EXAMPLE[:cut])
    if not strict and cut >= 0x118:  # all values are there, only padding is missing
        with AprFile(path, strict=False) as file:
            assert "padding" in file.warnings[0]
        return
    with pytest.raises(FormatError) as caught:
        AprFile(path, strict=strict)
    assert "\n" not in str(caught.value)


def sparse_file(path: Path, size: int) -> Path:
    """A sound file with one U8 tensor of SIZE zeros (whole MiB): a hole on the disk, SIZE bytes to the reader."""
    head = apr_bytes([Row("x", 7, (size,), b"", size)])[:-4]
    checksum = zlib.crc32(head)
    for _ in range(size // 2**20):
        checksum = zlib.crc32(bytes(2**20), checksum)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)
        stream.seek(0, 2)
        stream.write(struct.pack("<I", checksum))
    return path


def test_line_10_mapped_not_copied(tmp_path: Path) -> None:
    """10. "mmap reading: no full-file copy needed (offsets are absolute after adding data_offset)." """
    size = 256 * 2**20
    path = sparse_file(tmp_path / "sparse.apr", size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with AprFile(path) as file:
        assert file.warnings == []
        entry = file.entries["x"]
        assert entry.offset == file.header.data_offset
        view = file.raw("x")
        assert (view.nbytes, int(view[-1])) == (size, 0)
        assert np.shares_memory(view, file.raw("x"))
        assert next(file.chunks("x", 1024)).shape == (1024,)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 128 * 1024, f"{grown} KiB more resident memory"


def test_line_10_a_large_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """The checksum of a large file is remembered only while the file stays as it is."""
    path = sparse_file(tmp_path / "sparse.apr", 64 * 2**20)
    for _ in range(2):
        AprFile(path).close()
    for value in (b"\1", b"\0"):
        with path.open("r+b") as stream:
            stream.seek(40 * 2**20)
            stream.write(value)
        if value == b"\1":
            with pytest.raises(FormatError, match="checksum does not match"):
                AprFile(path)
        else:
            AprFile(path).close()


def test_line_11_repeated_name_is_refused(tmp_path: Path) -> None:
    """11. "Repeated name ... → refused" (also where the two entries share their bytes)."""
    twice = [Row("a", 0, (1,), b"\0\0\x80?"), Row("a", 0, (1,), b"\0\0\x80?")]
    with pytest.raises(FormatError, match="repeats a name"):
        AprFile(saved(tmp_path, apr_bytes(twice)))


@pytest.mark.parametrize("footer", [True, False])
def test_line_11_cut_inside_the_last_padding(tmp_path: Path, footer: bool) -> None:
    """11. "... a cut inside the last padding → refused" """
    data = EXAMPLE[:0x130]
    data = reseal(data + bytes(4)) if footer else data
    with pytest.raises(FormatError, match="padding runs past the end"):
        AprFile(saved(tmp_path, data))


def test_line_11_footer_missing_is_a_warning(tmp_path: Path) -> None:
    """11. "... footer missing → warning" """
    with AprFile(saved(tmp_path, EXAMPLE[:-4])) as file:
        assert len(file.warnings) == 1
        assert "footer checksum is missing" in file.warnings[0]


@pytest.mark.parametrize(
    ("head", "embedding"),
    [("lm_head.weight", "model.embed_tokens.weight"), ("output.weight", "token_embd.weight")],
)
def test_line_11_head_without_bytes_is_tied(tmp_path: Path, head: str, embedding: str) -> None:
    """11. "... 0-byte lm_head → tied": it reads as the embedding, whatever type it was given."""
    values = np.arange(8, dtype="<f2")
    rows = [Row(head, 0, (4, 2), b""), Row(embedding, 1, (4, 2), values.tobytes())]
    with AprFile(saved(tmp_path, apr_bytes(rows))) as file:
        assert file.tied_head == head
        assert file.raw(head).size == 0
        np.testing.assert_array_equal(file.read(head), values.reshape(4, 2))
        np.testing.assert_array_equal(np.concatenate(list(file.chunks(head, 3))), values)
    rows[0] = Row(head, 0, (2, 4), b"")
    with (
        AprFile(saved(tmp_path, apr_bytes(rows))) as file,
        pytest.raises(FormatError, match="which has another shape"),
    ):
        file.read(head)


def test_line_11_bfloat16_norms_are_readable(tmp_path: Path) -> None:
    """11. "... BF16 norms readable." """
    raw = np.array([0x3F80, 0xC040, 0x0001], "<u2").tobytes()
    with AprFile(saved(tmp_path, apr_bytes([Row("model.norm.weight", 30, (3,), raw)]))) as file:
        np.testing.assert_array_equal(file.read("model.norm.weight"), np.array([1, -3, 2.0**-133], np.float32))


def test_line_12_golden_file() -> None:
    """12. "The 516-byte fixture of section 13 is reproduced exactly." """
    metadata = {"model_type": "linear_regression", "name": "golden-v2", "version": "0.0.0-golden"}
    metadata |= {"created_at": "1700000000", "total_size": 0, "param_count": 8}
    weights = np.array([1, 2, 0.5, -0.5, 4, -2, 0.25, 8], "<f4")
    tensors = [("bias", "F32", (1,), np.array([0.125], "<f4")), ("weights", "F32", (8,), weights)]
    data = serialize_apr(metadata, tensors)
    assert len(data) == 516
    assert hashlib.sha256(data).hexdigest() == "047642c8a09f5807466374928c28e370855ddb96f527d4445ee359a591594c2c"
