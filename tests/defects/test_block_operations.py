"""Damage to quantised blocks: just the row, the scale or the byte order that the name says, in every type."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_aprqa.defects.block_operations import (
    BLOCK_LAYOUTS,
    damage_row,
    make_scale_nan,
    scale_head,
    swap_bytes_of_scales,
)
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.opening import open_tensor_file
from tests.model_fixtures import write_plain_safetensors

NAME = "model.layers.0.mlp.down_proj.weight"
ROWS, WIDTH = 6, 512


@pytest.fixture
def quantised(tmp_path):
    """A GGUF-like file is not needed: SafeTensors cannot hold blocks, so a GGUF with one tensor is written."""
    from pytest_aprqa.formats.gguf_writer import write_gguf

    def write(dtype):
        values = np.random.default_rng(5).standard_normal((ROWS, WIDTH)).astype(np.float32)
        path = tmp_path / f"{dtype}.gguf"
        keys = [("general.architecture", "llama", "string")]
        write_gguf(path, "llama", keys, [("blk.0.ffn_down.weight", dtype, (ROWS, WIDTH), codecs.encode(dtype, values))])
        return path

    return write


def values_of(path):
    with open_tensor_file(path) as file:
        return file.read("blk.0.ffn_down.weight").copy()


@pytest.mark.parametrize("dtype", BLOCK_LAYOUTS)
def test_layouts_are_those_of_the_codecs(dtype):
    width, size = codecs.BLOCKS[dtype]
    layout = BLOCK_LAYOUTS[dtype]
    assert layout.size == size
    assert WIDTH % width == 0
    assert 0 <= layout.scale <= size - 2
    assert layout.numbers.stop <= size


@pytest.mark.parametrize("dtype", BLOCK_LAYOUTS)
def test_one_row_is_damaged_and_stays_finite(quantised, dtype):
    path = quantised(dtype)
    before = values_of(path)
    damage_row(NAME, 3)(path)
    after = values_of(path)
    assert np.isfinite(after).all()
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [3]
    assert (before[3] != after[3]).mean() > 0.5


@pytest.mark.parametrize("dtype", BLOCK_LAYOUTS)
def test_one_block_of_the_first_row_is_nan(quantised, dtype):
    path = quantised(dtype)
    make_scale_nan(NAME)(path)
    after = values_of(path)
    assert np.isnan(after[0]).sum() == codecs.BLOCKS[dtype][0]
    assert np.isfinite(after[1:]).all()


@pytest.mark.parametrize("dtype", BLOCK_LAYOUTS)
def test_scales_swapped_twice_are_right_again(quantised, dtype):
    path = quantised(dtype)
    before = path.read_bytes()
    swap_bytes_of_scales(NAME)(path)
    assert path.read_bytes() != before
    swap_bytes_of_scales(NAME)(path)
    assert path.read_bytes() == before


def test_a_tensor_without_blocks_has_none_to_damage(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write_plain_safetensors(folder / "model.safetensors", {NAME: np.ones((2, 4), np.float32)}, "F32")
    with pytest.raises(DefectNotApplicableError, match="not quantised in blocks but F32"):
        damage_row(NAME)(folder)


@pytest.mark.parametrize("dtype", BLOCK_LAYOUTS)
def test_one_head_is_scaled_and_no_other_row(tmp_path, dtype):
    from pytest_aprqa.formats.gguf_writer import write_gguf

    values = np.random.default_rng(6).standard_normal((ROWS, WIDTH)).astype(np.float32)
    path = tmp_path / "head.gguf"
    keys = [("general.architecture", "qwen2", "string")]
    keys += [(f"qwen2.attention.head_count{one}", 3, "uint32") for one in ("", "_kv")]
    write_gguf(path, "qwen2", keys, [("blk.0.attn_q.weight", dtype, (ROWS, WIDTH), codecs.encode(dtype, values))])

    def stored():
        with open_tensor_file(path) as file:
            return file.read("blk.0.attn_q.weight").copy()

    before = stored()
    scale_head("model.layers.0.self_attn.q_proj.weight", 0.5)(path)
    after = stored()
    np.testing.assert_allclose(after[2:4], before[2:4] / 2, rtol=2e-3, atol=1e-6)
    assert np.array_equal(after[[0, 1, 4, 5]], before[[0, 1, 4, 5]])
