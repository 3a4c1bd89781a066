"""Every family's template against what transformers builds, and a walk of all names and values through GGUF and APR."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
import transformers

from pytest_aprqa.formats.apr_writer import write_apr
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.formats.names import expert_names, gguf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.stored_order import order_of, to_stored
from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.families import expected_tensors, integrity_problems, layout_problems
from pytest_aprqa.models.family_table import FAMILY_TABLE
from pytest_aprqa.models.family_templates import KNOWN

SIZES = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 40}
SHORT = {"vocab_size": 50, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
NO_HEAD_DIM = {name: value for name, value in SIZES.items() if name != "head_dim"}
FALCON = {
    name: value for name, value in NO_HEAD_DIM.items() if name not in ("intermediate_size", "num_key_value_heads")
}
# Families whose head size is always hidden size / heads.
WITHOUT_HEAD_DIM = ("gpt_neox", "phi", "stablelm", "starcoder2", "olmo", "olmo2", "granite", "smollm3", "phi3")
# Families whose model code is not part of transformers: it comes with their repositories, or they run as Llama.
ABSENT = ("deepseek", "internlm2", "phi3small")
LATENT = NO_HEAD_DIM | {
    "num_key_value_heads": 4, "kv_lora_rank": 24, "q_lora_rank": None, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
    "v_head_dim": 20, "n_routed_experts": 4, "n_shared_experts": 2, "moe_intermediate_size": 40,
    "first_k_dense_replace": 1,
}  # fmt: skip
CASES = {
    **{f: (f, NO_HEAD_DIM if f in WITHOUT_HEAD_DIM else SIZES) for f in KNOWN if f not in (*ABSENT, "falcon")},
    **{f: (f, SHORT) for f in ("gpt2", "gpt_bigcode")},
    **{f: (f, SIZES | EXPERTS) for f in ("qwen3_moe", "mixtral")},
    "deepseek_v2": ("deepseek_v2", LATENT),
    "deepseek_v2 query rank": ("deepseek_v2", LATENT | {"q_lora_rank": 12, "attention_bias": True}),
    "deepseek_v2 all experts": ("deepseek_v2", LATENT | {"first_k_dense_replace": 0}),
    "falcon": ("falcon", FALCON),
    "falcon biased": ("falcon", FALCON | {"bias": True}),
    "falcon two norms": ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gpt_bigcode many heads": ("gpt_bigcode", SHORT | {"multi_query": False}),
    "gpt2 inner": ("gpt2", SHORT | {"n_inner": 100}),
    "llama biased": ("llama", SIZES | {"attention_bias": True}),
    "llama mlp biased": ("llama", SIZES | {"mlp_bias": True}),
    "qwen3 biased": ("qwen3", SIZES | {"attention_bias": True}),
    "gemma biased": ("gemma", SIZES | {"attention_bias": True}),
    "stablelm biased": ("stablelm", NO_HEAD_DIM | {"use_qkv_bias": True}),
    "llama tied": ("llama", SIZES | {"tie_word_embeddings": True}),
    "gemma untied": ("gemma", SIZES | {"tie_word_embeddings": False}),
}


BUILT: dict[str, tuple[ModelConfig, dict[str, tuple[int, ...]]]] = {}


def built(tmp_path, case: str) -> tuple[ModelConfig, dict[str, tuple[int, ...]]]:
    """Our reading of the config.json that transformers writes, and its own parameters."""
    if case in BUILT:
        return BUILT[case]
    family, values = CASES[case]
    theirs = transformers.AutoConfig.for_model(family, **values)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(theirs)
    theirs.save_pretrained(tmp_path)
    config = config_from_hf(tmp_path)
    BUILT[case] = config, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return BUILT[case]


def fused(config: ModelConfig, tensors: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Experts of checkpoint files as transformers holds them in memory: stacked, gate and up in one."""
    shapes = {}
    for name, shape in tensors.items():
        match = re.fullmatch(r"(.*\.)(?:mlp|block_sparse_moe)\.experts\.\d+\.(\w+)\.weight", name)
        if match and match[2] in ("down_proj", "w2"):
            shapes[f"{match[1]}mlp.experts.down_proj"] = (config.num_experts, *shape)
        elif match:
            shapes[f"{match[1]}mlp.experts.gate_up_proj"] = (config.num_experts, 2 * shape[0], shape[1])
        else:
            shapes[name.replace("block_sparse_moe.", "mlp.").replace("embed_out.", "lm_head.")] = shape
    return shapes


@pytest.mark.parametrize("case", CASES)
def test_names_and_shapes_are_those_that_transformers_builds(tmp_path, case):
    config, theirs = built(tmp_path, case)
    assert fused(config, expected_tensors(config)) == theirs


@pytest.mark.parametrize("family", [f for f in KNOWN if f not in ABSENT])
def test_what_a_short_config_leaves_out_means_what_transformers_takes_it_for(tmp_path, family):
    short = {"model_type": family} | (SHORT if family in ("gpt2", "gpt_bigcode") else NO_HEAD_DIM)
    if family == "falcon":
        short = {"model_type": family} | FALCON
    (tmp_path / "config.json").write_text(json.dumps(short))
    theirs = transformers.AutoConfig.for_model(**short)
    config = config_from_hf(tmp_path)
    assert config.tied_embeddings == theirs.tie_word_embeddings
    if config.latent:
        theirs.head_dim = theirs.qk_head_dim  # theirs is the part that rotates
        sizes = (theirs.kv_lora_rank, theirs.q_lora_rank, theirs.qk_rope_head_dim, theirs.v_head_dim)
        latent = config.latent
        assert (latent.rank, latent.query_rank, latent.rotated, latent.value) == sizes
        assert (config.num_experts or 64, config.dense_layers) == (
            theirs.n_routed_experts,
            theirs.first_k_dense_replace,
        )
        assert config.shared_experts == theirs.n_shared_experts
    assert config.head_dim == (getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads)
    assert config.intermediate_size == (getattr(theirs, "intermediate_size", None) or 4 * theirs.hidden_size)


@pytest.mark.parametrize("case", CASES)
def test_all_names_and_values_return_from_gguf_and_from_apr(tmp_path, case):
    config, _ = built(tmp_path, case)
    family = "falcon_two_norms" if case == "falcon two norms" else config.architecture
    architecture = ARCHITECTURE_OF.get(family, family)
    generator = np.random.default_rng(7)
    source = {n: generator.standard_normal(s).astype(np.float32) for n, s in expected_tensors(config).items()}
    heads = (config.num_heads, config.num_kv_heads)
    stored: dict[str, list[np.ndarray]] = {}
    for name, values in source.items():
        ordered = to_stored(values, order_of(name, config.architecture), *heads)
        stored.setdefault(gguf_name(name, family), []).append(np.ascontiguousarray(ordered))
    stacked = {name: np.stack(parts) if expert_names(name, family, 1) else parts[0] for name, parts in stored.items()}
    assert None not in stacked
    write_gguf(tmp_path / "m.gguf", architecture, [], [(n, "F32", v.shape, v) for n, v in stacked.items()])
    write_apr(tmp_path / "m.apr", {"model_type": family}, [(n, "F32", v.shape, v) for n, v in source.items()])
    for path, named in ((tmp_path / "m.gguf", architecture), (tmp_path / "m.apr", family)):
        with open_tensor_file(path) as file:
            tensors = CanonicalTensors(file, named, *heads)
            assert {name: tensors.entry(name).shape for name in tensors.names()} == expected_tensors(config)
            for name, values in source.items():
                np.testing.assert_allclose(tensors.read(name), values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("family", [f for f in KNOWN if f in FAMILY_TABLE])
def test_templates_have_what_the_family_table_says(tmp_path, family):
    case = next((case for case, (one, _) in CASES.items() if one == family), "llama")
    config, _ = built(tmp_path, case)
    names = expected_tensors(dataclasses.replace(config, architecture=family))
    row = FAMILY_TABLE[family]
    assert any("q_norm" in name for name in names) == row.qk_norm or family in ("qwen3_moe",)
    assert any(part in name for name in names for part in ("query_key_value", "c_attn", "wqkv")) == (
        row.fused_qkv or row.position == "absolute"
    )
    gated = any("gate_proj" in name or "experts" in name or "feed_forward.w1" in name for name in names)
    assert gated == (row.mlp in ("swiglu", "gated_mlp")) or family == "nemotron"


@pytest.mark.parametrize("case", ["gpt2", "falcon", "phi", "gemma3_text"])
def test_layout_and_integrity_hold_and_fail_for_other_families(tmp_path, case):
    config, _ = built(tmp_path, case)
    shapes = expected_tensors(config)
    assert layout_problems(config, shapes) == []
    assert [p for p in integrity_problems(config, shapes) if "HIDDEN" in p or "VOCAB" in p or "LAYERS" in p] == []
    name = next(n for n, s in shapes.items() if len(s) == 2 and s[0] != s[1])
    (problem,) = layout_problems(config, shapes | {name: shapes[name][::-1]})
    assert problem.tensor == name
    assert "transposed" in problem.message


def test_every_family_of_the_table_has_a_template():
    assert set(FAMILY_TABLE) <= set(KNOWN)
    assert {"phi3small", "deepseek_v2"} <= set(KNOWN)


def test_a_falcon_of_the_oldest_kind_is_refused_by_its_heads(tmp_path):
    config, _ = built(tmp_path, "falcon")
    with pytest.raises(ModelError, match=r"num_kv_heads: a Falcon .*found 4, limit fewer than heads"):
        expected_tensors(dataclasses.replace(config, num_kv_heads=4))
