"""Which type a tensor gets in a derived file, and that a value is never lost without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.tensor_types import encoded, is_buffer, target_dtype
from tests.model_fixtures import write_plain_safetensors

PATH = Path("model.safetensors")


def entry(dtype: str, *shape: int) -> TensorEntry:
    return TensorEntry("w", dtype, shape, 0, 0)


@pytest.mark.parametrize("dtype", ["native", "f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("source", ["F32", "F16", "BF16"])
def test_vectors_are_always_f32(source: str, dtype: str) -> None:
    assert target_dtype(PATH, entry(source, 64), dtype) == "F32"


@pytest.mark.parametrize(
    ("source", "dtype", "expected"),
    [
        ("F32", "native", "F32"),
        ("F16", "native", "F16"),
        ("BF16", "native", "BF16"),
        ("F64", "native", "F32"),
        ("BF16", "f32", "F32"),
        ("F32", "bf16", "BF16"),
        ("F64", "q8_0", "Q8_0"),
    ],
)
def test_matrices_follow_the_option(source: str, dtype: str, expected: str) -> None:
    assert target_dtype(PATH, entry(source, 4, 32), dtype) == expected


@pytest.mark.parametrize(("columns", "expected"), [(31, "F16"), (32, "Q8_0"), (33, "F16"), (64, "Q8_0")])
def test_q8_0_needs_rows_of_whole_blocks(columns: int, expected: str) -> None:
    assert target_dtype(PATH, entry("F32", 4, columns), "q8_0") == expected


@pytest.mark.parametrize(
    ("columns", "dtype", "expected"),
    [
        (256, "q4_k", "Q4_K"),
        (255, "q4_k", "F16"),
        (288, "q4_k", "Q5_0"),
        (512, "q5_k", "Q5_K"),
        (480, "q5_k", "Q5_1"),
        (768, "q6_k", "Q6_K"),
        (32, "q6_k", "Q8_0"),
        (48, "q6_k", "F16"),
        (32, "q4_0", "Q4_0"),
        (33, "q4_0", "F16"),
    ],
)
def test_rows_that_are_not_whole_blocks_fall_back_as_llama_cpp_does(columns: int, dtype: str, expected: str) -> None:
    assert target_dtype(PATH, entry("BF16", 4, columns), dtype) == expected


@pytest.mark.parametrize("source", ["F8_E4M3", "I8", "I32", "U8"])
def test_types_without_a_plain_value_are_refused(source: str) -> None:
    with pytest.raises(LifecycleError, match=f"found {source}"):
        target_dtype(PATH, entry(source, 4, 32), "native")


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("model.embeddings.position_ids", "I64", True),
        ("transformer.h.0.attn.bias", "BOOL", True),
        ("gpt_neox.layers.0.attention.bias", "U8", True),
        ("gpt_neox.layers.0.attention.bias", "F32", False),
        ("model.layers.0.self_attn.q_proj.qweight", "I32", False),
        ("model.layers.0.self_attn.q_proj.weight", "I8", False),
        ("model.embed_tokens.weight", "F8_E4M3", False),
    ],
)
def test_masks_and_positions_are_buffers_and_packed_weights_are_not(name: str, dtype: str, expected: bool) -> None:
    assert is_buffer(replace(entry(dtype, 4), name=name)) is expected


@pytest.mark.parametrize(("largest", "fits"), [(65504.0, True), (65519.0, True), (65520.0, False), (-70000.0, False)])
def test_values_that_f16_would_make_infinite_are_refused(largest: float, fits: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_plain_safetensors(path, {"w": np.array([[1.0, largest]], dtype=np.float32)}, "F32")
    with open_tensor_file(path) as file:
        if fits:
            data = encoded(file, file.entries["w"], "F16")
            assert np.isfinite(data.view("<f2")).all()
            assert data.shape == (1, 4)
        else:
            with pytest.raises(LifecycleError, match="w: does not fit in f16"):
                encoded(file, file.entries["w"], "F16")


def test_infinite_values_of_the_source_stay_infinite(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_plain_safetensors(path, {"w": np.array([[1.0, np.inf]], dtype=np.float32)}, "F32")
    with open_tensor_file(path) as file:
        assert np.isinf(encoded(file, file.entries["w"], "F16").view("<f2")).sum() == 1


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_K", "Q6_K"])
def test_a_tensor_of_many_pieces_is_encoded_as_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    values = np.random.default_rng(5).normal(0, 1, (700, 512)).astype(np.float32)
    write_plain_safetensors(path, {"w": values, "v": values[0]}, "F32")
    with open_tensor_file(path) as file:
        for name, expected in (("w", values), ("v", values[:1])):
            data = encoded(file, file.entries[name], kind)
            assert data.shape[0] == expected.shape[0]
            assert data.tobytes() == codecs.encode(kind, expected)


def test_values_that_a_block_scale_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_plain_safetensors(path, {"w": np.array([[1.0, np.nan] * 128], dtype=np.float32)}, "F32")
    with open_tensor_file(path) as file, pytest.raises(LifecycleError, match="w: cannot be stored as Q4_K"):
        encoded(file, file.entries["w"], "Q4_K")
