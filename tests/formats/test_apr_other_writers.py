"""Files of the reference engine's own two writers (container description, section 12): odd, but models."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_layout import align64
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from tests.formats.apr_builder import Row, apr_bytes, saved

METADATA = {"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
VALUES = np.arange(8, dtype="<f4")


def in_memory(rows: list[tuple[str, np.ndarray]]) -> bytes:
    """The serialiser in memory: checksum 0, flags 0, index neither sorted nor padded, GGUF names, no footer."""
    text = json.dumps(METADATA).encode()
    index, body = b"", b""
    for name, values in rows:
        encoded = name.encode()
        index += struct.pack("<H", len(encoded)) + encoded + struct.pack("<BB", 0, values.ndim)
        index += struct.pack(f"<{values.ndim}QQQ", *values.shape, len(body), values.nbytes)
        body += values.tobytes() + bytes(align64(values.nbytes) - values.nbytes)
    index_at = 64 + align64(len(text))
    fields = (b"APR\0", 2, 0, 0, len(rows), 64, len(text), index_at, index_at + len(index))
    head = struct.pack("<4sBBHIQIQQ", *fields) + bytes(24)
    return head + text.ljust(index_at - 64, b"\0") + index + body


def test_the_serialiser_in_memory_is_read_leniently(tmp_path: Path) -> None:
    data = in_memory([("token_embd.weight", VALUES.reshape(4, 2)), ("blk.0.attn_q.weight", VALUES.reshape(4, 2))])
    with pytest.raises(FormatError, match="header checksum"):
        AprFile(saved(tmp_path, data))
    with AprFile(saved(tmp_path, data), strict=False) as file:
        notes = " ".join(file.warnings)
        for words in ("header checksum", "is not aligned", "is not sorted by name", "footer"):
            assert words in notes
        assert (file.metadata["num_layers"], file.metadata["num_kv_heads"]) == (1, 1)
        tensors = CanonicalTensors(file, "llama", 2, 1)
        assert tensors.names() == ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"]
        np.testing.assert_array_equal(tensors.read("model.embed_tokens.weight"), VALUES.reshape(4, 2))


@pytest.mark.parametrize(
    ("code", "dtype", "size", "readable"),
    [
        (2, "Q4_0", 18, False),
        (3, "Q4_1", 20, False),
        (6, "Q5_0", 22, False),
        (7, "Q5_1", 24, False),
        (8, "Q8_0", 34, True),
    ],
)
def test_raw_ggml_codes_are_taken_for_what_their_size_says(
    tmp_path: Path, code: int, dtype: str, size: int, readable: bool
) -> None:
    """`--preserve-q4k` stores GGML ids as they are: read leniently; Q8_0 under code 8 also strictly, with a note."""
    data = apr_bytes([Row("blk.0.ffn_up.weight", code, (4, 32), bytes(4 * size))], flags=0x0020)[:-4]
    path = saved(tmp_path, data)
    if readable:
        with AprFile(path) as file:
            assert any(f"ggml meaning {dtype}" in line for line in file.warnings)
    else:
        with pytest.raises(FormatError, match=r"dtype code|size does not match"):
            AprFile(path)
    with AprFile(path, strict=False) as file:
        assert file.entries["blk.0.ffn_up.weight"].dtype == dtype
        assert file.read("blk.0.ffn_up.weight").shape == (4, 32)


def test_a_code_whose_size_fits_neither_meaning_is_refused_in_both_modes(tmp_path: Path) -> None:
    path = saved(tmp_path, apr_bytes([Row("a", 6, (4, 32), bytes(100))]))
    for strict in (True, False):
        with pytest.raises(FormatError, match="size does not match"):
            AprFile(path, strict=strict)
