"""Tensors that GGUF stores in parts: InternLM2's fused q, k, v; DeepSeek-V2's latent keys and values."""

import numpy as np
import pytest

from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.joined_tensors import joined_names, joined_shape, joined_values, part_shapes, split_values
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.permutation import permute_rows

HEADS, KV_HEADS, SIZE, HIDDEN = 6, 2, 4, 5
ROWS = (HEADS + 2 * KV_HEADS) * SIZE


def rows_of_internlm2(whole):
    """The published model code, row by row: of each key-value head its queries, then the key, then the value."""
    query, key, value = [], [], []
    row, per_group = 0, HEADS // KV_HEADS
    for _ in range(KV_HEADS):
        for _ in range(per_group * SIZE):
            query.append(whole[row])
            row += 1
        for target in (key, value):
            target.extend(whole[row : row + SIZE])
            row += SIZE
    assert row == len(whole)
    return np.array(query), np.array(key), np.array(value)


@pytest.mark.parametrize("shape", [(ROWS, HIDDEN), (ROWS,)])
def test_fused_rows_of_internlm2_are_split_as_its_code_splits_them(shape):
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    query, key, value = rows_of_internlm2(whole)
    parts = split_values(whole, HEADS, KV_HEADS, SIZE, latent=False)
    np.testing.assert_array_equal(parts[0], permute_rows(query, HEADS))
    np.testing.assert_array_equal(parts[1], permute_rows(key, KV_HEADS))
    np.testing.assert_array_equal(parts[2], value)
    np.testing.assert_array_equal(joined_values(parts, HEADS, KV_HEADS), whole)
    assert joined_shape([part.shape for part in parts]) == shape


def test_latent_keys_and_values_of_deepseek_are_split_head_by_head():
    keys, values, rank = 3, 2, 7
    whole = np.arange(HEADS * (keys + values) * rank, dtype=np.float32).reshape(-1, rank)
    first, second = split_values(whole, HEADS, HEADS, keys, latent=True)
    for head in range(HEADS):
        rows = whole[head * (keys + values) : (head + 1) * (keys + values)]
        np.testing.assert_array_equal(first[head], rows[:keys].T)
        np.testing.assert_array_equal(second[head], rows[keys:])
    np.testing.assert_array_equal(joined_values([first, second], HEADS, HEADS), whole)
    assert joined_shape([first.shape, second.shape]) == whole.shape


@pytest.mark.parametrize(
    ("architecture", "name", "shape", "split", "expected"),
    [
        ("internlm2", "model.layers.3.attention.wqkv.weight", (ROWS, HIDDEN), SIZE,
         {"blk.3.attn_q.weight": (24, 5), "blk.3.attn_k.weight": (8, 5), "blk.3.attn_v.weight": (8, 5)}),
        ("deepseek2", "model.layers.0.self_attn.kv_b_proj.weight", (30, 7), 3,
         {"blk.0.attn_k_b.weight": (6, 7, 3), "blk.0.attn_v_b.weight": (6, 2, 7)}),
        ("internlm2", "model.layers.3.attention.wo.weight", (5, 5), SIZE, {}),
        ("llama", "model.layers.3.attention.wqkv.weight", (ROWS, HIDDEN), SIZE, {}),
    ],
)  # fmt: skip
def test_shapes_of_the_parts(architecture, name, shape, split, expected):
    assert part_shapes(name, architecture, shape, HEADS, KV_HEADS, split) == expected


def test_rows_that_do_not_split_are_refused():
    with pytest.raises(ValueError, match="does not split into 6 heads"):
        part_shapes("model.layers.0.attention.wqkv.weight", "internlm2", (ROWS + 1, 5), HEADS, KV_HEADS, SIZE)
    parts = split_values(np.zeros((ROWS, HIDDEN)), HEADS, KV_HEADS, SIZE, latent=False)
    with pytest.raises(ValueError, match="are no rows of 6 query heads"):
        joined_values([parts[0], parts[1], parts[2][:-1]], HEADS, KV_HEADS)
    with pytest.raises(ValueError, match="no keys and values of the same heads"):
        joined_values([np.zeros((6, 7, 3)), np.zeros((5, 2, 7))], HEADS, HEADS)


def test_a_file_without_all_parts_keeps_their_own_names():
    names = ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.1.attn_q.weight"]
    assert joined_names(names, "internlm2") == {"model.layers.0.attention.wqkv.weight": tuple(names[:3])}
    assert joined_names(names, "llama") == {}


def written(tmp_path, parts):
    rows = [(name, "F32", values.shape, values) for name, values in parts.items()]
    return write_gguf(tmp_path / "m.gguf", "internlm2", [], rows)


def test_a_file_reads_back_as_one_tensor(tmp_path):
    whole = np.random.default_rng(3).standard_normal((ROWS, HIDDEN)).astype(np.float32)
    parts = split_values(whole, HEADS, KV_HEADS, SIZE, latent=False)
    names = [f"blk.0.attn_{part}.weight" for part in "qkv"]
    with open_tensor_file(written(tmp_path, dict(zip(names, parts, strict=True)))) as file:
        tensors = CanonicalTensors(file, "internlm2", HEADS, KV_HEADS)
        (name,) = tensors.names()
        assert name == "model.layers.0.attention.wqkv.weight"
        assert (tensors.entry(name).shape, tensors.entry(name).nbytes) == (whole.shape, whole.nbytes)
        assert tensors.source_names(name) == tuple(names)
        assert tensors.stored(name) is None
        np.testing.assert_array_equal(tensors.read(name), whole)
        np.testing.assert_array_equal(np.concatenate(list(tensors.chunks(name, 7))), whole.reshape(-1))


def test_parts_of_other_heads_are_an_error_with_the_tensors_name(tmp_path):
    parts = {f"blk.0.attn_{part}.weight": np.zeros((8, HIDDEN), np.float32) for part in "qkv"}
    with open_tensor_file(written(tmp_path, parts)) as file:
        tensors = CanonicalTensors(file, "internlm2", HEADS, KV_HEADS)
        with pytest.raises(FormatError, match=r"wqkv.*check the head counts"):
            tensors.read("model.layers.0.attention.wqkv.weight")
