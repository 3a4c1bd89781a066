"""Names map both ways, q/k rows return to Hugging Face order, and every format gives the same canonical tensors."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.formats.apr_writer import write_apr
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.names import gguf_name, hf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.permutation import permute_rows, unpermute_rows
from pytest_aprqa.formats.safetensors_file import write_safetensors

TABLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "model.layers.7.input_layernorm.weight": "blk.7.attn_norm.weight",
    "model.layers.7.post_attention_layernorm.weight": "blk.7.ffn_norm.weight",
    "model.layers.7.self_attn.q_proj.weight": "blk.7.attn_q.weight",
    "model.layers.7.self_attn.q_proj.bias": "blk.7.attn_q.bias",
    "model.layers.7.self_attn.k_proj.weight": "blk.7.attn_k.weight",
    "model.layers.7.self_attn.v_proj.bias": "blk.7.attn_v.bias",
    "model.layers.7.self_attn.o_proj.weight": "blk.7.attn_output.weight",
    "model.layers.7.self_attn.q_norm.weight": "blk.7.attn_q_norm.weight",
    "model.layers.7.self_attn.k_norm.weight": "blk.7.attn_k_norm.weight",
    "model.layers.7.self_attn.qkv_proj.weight": "blk.7.attn_qkv.weight",
    "model.layers.7.mlp.gate_proj.weight": "blk.7.ffn_gate.weight",
    "model.layers.7.mlp.up_proj.weight": "blk.7.ffn_up.weight",
    "model.layers.7.mlp.down_proj.weight": "blk.7.ffn_down.weight",
}


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral"])
def test_names_are_a_bijection(architecture):
    for ours, theirs in TABLE.items():
        assert gguf_name(ours, architecture) == theirs
        assert hf_name(theirs, architecture) == ours


@pytest.mark.parametrize(
    "name", ["blk.x.attn_q.weight", "blk.0.attn_q", "rope_freqs.weight", "blk.00.attn_q.weight", "blk.1.none.weight"]
)
def test_unknown_gguf_names_have_no_hugging_face_name(name):
    assert hf_name(name, "llama") is None
    assert gguf_name(name, "llama") is None


def test_gemma_and_phi3_layers_differ():
    assert hf_name("blk.0.ffn_norm.weight", "gemma3") == "model.layers.0.pre_feedforward_layernorm.weight"
    assert hf_name("blk.0.post_attention_norm.weight", "gemma2") == "model.layers.0.post_attention_layernorm.weight"
    assert hf_name("blk.0.ffn_up.weight", "phi3") == "model.layers.0.mlp.gate_up_proj.weight"


@given(st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_permutation_is_inverted(heads, half, bias):
    rows = heads * half * 2
    array = np.arange(rows * 3).reshape(rows, 3)[:, 0] if bias else np.arange(rows * 3).reshape(rows, 3)
    np.testing.assert_array_equal(unpermute_rows(permute_rows(array, heads), heads), array)


def test_permutation_interleaves_the_halves_of_each_head():
    assert permute_rows(np.arange(8), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(("rows", "heads"), [(6, 2), (8, 0), (8, 3)])
def test_rows_that_do_not_split_into_heads_are_refused(rows, heads):
    with pytest.raises(ValueError, match="does not split"):
        permute_rows(np.zeros((rows, 2)), heads)


def model():
    random = np.random.default_rng(5)
    shapes = {
        "model.embed_tokens.weight": (10, 8),
        "model.layers.0.self_attn.q_proj.weight": (8, 8),
        "model.layers.0.self_attn.q_proj.bias": (8,),
        "model.layers.0.self_attn.k_proj.weight": (4, 8),
        "model.layers.0.self_attn.v_proj.weight": (4, 8),
        "model.norm.weight": (8,),
    }
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def gguf_rows(tensors, architecture, *, permute):
    rows = []
    for name, array in tensors.items():
        heads = 2 if ".q_proj" in name else 1 if ".k_proj" in name else None
        stored = permute_rows(array, heads) if permute and heads else array
        rows.append((gguf_name(name, architecture), "F32", array.shape, stored))
    return rows


def check(path, architecture, tensors):
    with open_tensor_file(path) as file:
        canonical = CanonicalTensors(file, architecture, 2, 1)
        assert sorted(canonical.names()) == sorted(tensors)
        for name, array in tensors.items():
            np.testing.assert_array_equal(canonical.read(name), array)
            np.testing.assert_array_equal(np.concatenate(list(canonical.chunks(name, 7))), array.reshape(-1))
            assert (canonical.entry(name).name, canonical.entry(name).shape) == (name, array.shape)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "mistral"])
def test_every_format_gives_the_same_tensors(tmp_path, architecture):
    tensors = model()
    write_safetensors(tmp_path / "s", {name: ("F32", a.shape, a) for name, a in tensors.items()})
    write_apr(tmp_path / "a", {"model_type": "t"}, [(name, "F32", a.shape, a) for name, a in tensors.items()])
    rows = gguf_rows(tensors, architecture, permute=architecture != "qwen2")
    write_gguf(tmp_path / "g", architecture, [], rows)
    write_apr(tmp_path / "n", {"model_type": "t"}, gguf_rows(tensors, architecture, permute=False))
    for name in "sagn":
        check(tmp_path / name, architecture, tensors)


@pytest.mark.parametrize(("architecture", "reordered"), [("qwen2", False), ("llama", True)])
def test_stored_bytes_are_told_only_where_rows_stand_in_their_order(tmp_path, architecture, reordered):
    tensors = model()
    write_gguf(tmp_path / "g", architecture, [], gguf_rows(tensors, architecture, permute=reordered))
    with open_tensor_file(tmp_path / "g") as file:
        canonical = CanonicalTensors(file, architecture, 2, 1)
        assert bytes(canonical.stored("model.norm.weight")) == tensors["model.norm.weight"].tobytes()
        assert (canonical.stored("model.layers.0.self_attn.q_proj.weight") is None) is reordered


def test_source_names_and_unknown_tensors_pass_through(tmp_path):
    write_gguf(
        tmp_path / "g",
        "llama",
        [],
        [
            ("v.other", "F32", (1,), struct.pack("<f", 1)),
            ("rope_freqs.weight", "F32", (1,), bytes(4)),
            ("output.weight", "F32", (1,), bytes(4)),
        ],
    )
    with open_tensor_file(tmp_path / "g") as file:
        canonical = CanonicalTensors(file, "llama", 2, 1)
        assert canonical.names() == ["v.other", "lm_head.weight"]
        assert canonical.source_name("lm_head.weight") == "output.weight"
        with pytest.raises(FormatError, match="is not in the file"):
            canonical.read("output.weight")


def test_two_names_for_one_tensor_are_refused(tmp_path):
    write_apr(
        tmp_path / "a", {"model_type": "t"}, [(n, "F32", (1,), bytes(4)) for n in ("output.weight", "lm_head.weight")]
    )
    with open_tensor_file(tmp_path / "a") as file, pytest.raises(FormatError, match="same canonical name"):
        CanonicalTensors(file, "llama", 2, 1)


def test_head_counts_that_do_not_fit_are_an_error_with_advice(tmp_path):
    write_gguf(tmp_path / "g", "llama", [], gguf_rows(model(), "llama", permute=True))
    with open_tensor_file(tmp_path / "g") as file, pytest.raises(FormatError, match="check the head counts"):
        CanonicalTensors(file, "llama", 3, 1).read("model.layers.0.self_attn.q_proj.weight")
