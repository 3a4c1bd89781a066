"""What converters do to the values of each family, there and back, and through real GGUF files."""

import numpy as np
import pytest

from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.stored_order import Order, from_stored, order_of, shape_of, to_stored

RNG = np.random.default_rng(5)
CASES = {
    "query rows": ("llama", "model.layers.0.self_attn.q_proj.weight", (32, 16), Order.QUERY_ROWS),
    "key rows": ("granite", "model.layers.0.self_attn.k_proj.weight", (16, 16), Order.KEY_ROWS),
    "key bias": ("mistral", "model.layers.0.self_attn.k_proj.bias", (16,), Order.KEY_ROWS),
    "norm": ("gemma2", "model.layers.0.post_feedforward_layernorm.weight", (16,), Order.ONE_ADDED),
    "query norm": ("gemma3", "model.layers.0.self_attn.q_norm.weight", (8,), Order.ONE_ADDED),
    "last norm": ("nemotron", "model.norm.weight", (16,), Order.ONE_ADDED),
    "matrix": ("gpt2", "transformer.h.0.attn.c_attn.weight", (16, 48), Order.TRANSPOSED),
    "fused rows": ("falcon", "transformer.h.0.self_attention.query_key_value.weight", (64, 16), Order.REGROUPED),
}


@pytest.mark.parametrize("case", CASES)
def test_values_return_and_the_order_is_that_of_the_family(case, tmp_path):
    architecture, name, shape, order = CASES[case]
    values = RNG.standard_normal(shape).astype(np.float32)
    assert order_of(name, architecture) is order
    stored = to_stored(values, order, 4, 2)
    assert stored.shape == shape_of(shape, order)
    assert not np.array_equal(stored, values)
    np.testing.assert_allclose(from_stored(stored, order, 4, 2), values, atol=1e-6)
    # A GGUF file says the architecture that runs the family.
    own = {"mistral": "llama"}.get(architecture, architecture)
    path = tmp_path / "m.gguf"
    data = np.ascontiguousarray(stored)
    write_gguf(path, own, [], [(gguf_name(name, architecture), "F32", data.shape, data)])
    with open_tensor_file(path) as file:
        tensors = CanonicalTensors(file, own, 4, 2)
        assert tensors.names() == [name]
        assert tensors.entry(name).shape == shape
        assert tensors.stored(name) is None
        np.testing.assert_allclose(tensors.read(name), values, atol=1e-6)
        np.testing.assert_allclose(np.concatenate(list(tensors.chunks(name, 7))), values.reshape(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("qwen2", "model.layers.0.self_attn.q_proj.weight"),
        ("llama", "model.layers.0.self_attn.v_proj.weight"),
        ("gemma", "model.layers.0.mlp.up_proj.weight"),
        ("llama", "model.norm.weight"),
        ("gpt2", "transformer.wte.weight"),
        ("gpt2", "transformer.h.0.attn.c_attn.bias"),
        ("gpt_bigcode", "transformer.h.0.attn.c_attn.weight"),
        ("falcon", "transformer.h.0.self_attention.dense.weight"),
    ],
)
def test_other_tensors_are_stored_as_they_are(architecture, name):
    assert order_of(name, architecture) is None


def test_fused_rows_become_queries_then_keys_then_values():
    rows = np.array(["q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"])
    stored = to_stored(rows, Order.REGROUPED, 4, 2)
    assert stored.tolist() == ["q0", "q1", "q2", "q3", "k0", "k1", "v0", "v1"]


@pytest.mark.parametrize(("rows", "heads", "kv_heads"), [(63, 4, 2), (64, 4, 3), (64, 0, 2), (0, 4, 2)])
def test_rows_that_do_not_split_are_refused(rows, heads, kv_heads):
    with pytest.raises(ValueError, match="do not split into"):
        to_stored(np.zeros((rows, 2)), Order.REGROUPED, heads, kv_heads)


def test_stacked_experts_are_told_one_by_one(tmp_path):
    values = RNG.standard_normal((3, 4, 32)).astype(np.float32)
    path = tmp_path / "m.gguf"
    write_gguf(path, "qwen3moe", [], [("blk.1.ffn_gate_exps.weight", "F32", values.shape, values)])
    with open_tensor_file(path) as file:
        tensors = CanonicalTensors(file, "qwen3moe", 4, 2)
        names = [f"model.layers.1.mlp.experts.{n}.gate_proj.weight" for n in range(3)]
        assert tensors.names() == names
        entries = [tensors.entry(name) for name in names]
        assert [entry.shape for entry in entries] == [(4, 32)] * 3
        assert entries[2].offset == entries[0].offset + 2 * entries[0].nbytes
        assert sum(entry.nbytes for entry in entries) == values.nbytes
        for number, name in enumerate(names):
            np.testing.assert_array_equal(tensors.read(name), values[number])
            np.testing.assert_array_equal(np.concatenate(list(tensors.chunks(name, 5))), values[number].reshape(-1))
            assert gguf_name(name, "qwen3_moe") == "blk.1.ffn_gate_exps.weight"


def test_wrong_head_counts_are_one_error(tmp_path):
    path = tmp_path / "m.gguf"
    write_gguf(path, "falcon", [], [("blk.0.attn_qkv.weight", "F32", (63, 4), np.zeros((63, 4), np.float32))])
    with open_tensor_file(path) as file:
        tensors = CanonicalTensors(file, "falcon", 4, 2)
        with pytest.raises(
            FormatError, match=r"63 rows do not split into 4 query heads and 2 .*; check the head counts"
        ):
            tensors.read("transformer.h.0.self_attention.query_key_value.weight")
