"""Byte-level builders for hostile files: no library stands between the test and the bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_aprqa.formats.apr_writer import serialize_apr


def name_bytes(value: object) -> str | None:
    """Test ids: bytes have no readable name, their message has."""
    return "" if isinstance(value, bytes) else None


def text(value: str | bytes) -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    """A GGUF metadata pair."""
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = pair("general.architecture", 8, text("llama"))


def tensor_info(name: str | bytes = "a", sizes: Sequence[int] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    """A row of the GGUF tensor table; sizes innermost first."""
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def gguf_bytes(
    pairs: Sequence[bytes] = (ARCHITECTURE,),
    infos: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    pair_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole GGUF file; counts follow the lists unless given."""
    pairs_said = len(pairs) if pair_count is None else pair_count
    tensors_said = len(infos) if tensor_count is None else tensor_count
    head = b"GGUF" + struct.pack("<Iqq", version, tensors_said, pairs_said) + b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + data


def good_gguf() -> bytes:
    """Two F32 tensors and a few metadata values, valid in every respect."""
    pairs = [
        ARCHITECTURE,
        pair("llama.block_count", 4, struct.pack("<I", 1)),
        pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
        pair("tokenizer.ggml.token_type", 9, struct.pack("<IQ2i", 5, 2, 1, 3)),
    ]
    infos = [tensor_info("a", (4,), 0, 0), tensor_info("b.weight", (2, 3), 0, 32)]
    return gguf_bytes(
        pairs, infos, struct.pack("<4f", 1, 2, 3, 4) + bytes(16) + struct.pack("<6f", *range(6)) + bytes(8)
    )


def safetensors_bytes(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A SafeTensors file from a header object (or its raw text)."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def field(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    """One tensor of a SafeTensors header."""
    as_list = [list(x) if isinstance(x, tuple) else x for x in (shape, offsets)]
    return {"dtype": dtype, "shape": as_list[0], "data_offsets": as_list[1]}


def good_safetensors() -> bytes:
    """Two tensors and metadata, valid in every respect."""
    header = {"__metadata__": {"format": "pt"}, "a": field(), "b": field("BF16", (2, 3), (8, 20))}
    return safetensors_bytes(header, bytes(range(20)))


def good_apr() -> bytes:
    """Three small tensors, valid in every respect."""
    rows = [
        ("weight", "F32", (2, 3), np.arange(6, dtype=np.float32)),
        ("bias", "F16", (3,), np.arange(3, dtype=np.float16)),
        ("blocks", "Q4_K", (2, 256), bytes(288)),
    ]
    return serialize_apr({"model_type": "t", "hidden_size": 3, "rope_theta": 10000.0}, rows)
