"""Tensor templates, LAYOUT-002 and integrity: the examples of the specification and each rule failing alone."""

from __future__ import annotations

import dataclasses

import pytest
import transformers

from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.families import (
    FAMILIES,
    HEAD,
    expected_tensors,
    integrity_problems,
    layout_problems,
    same_architecture,
)

Q, K = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"


def config(architecture: str = "llama", **changes: object) -> ModelConfig:
    made = ModelConfig(
        architecture=architecture, hidden_size=64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16,
        intermediate_size=96, vocab_size=50, max_position_embeddings=128, rope_theta=1e4, rope_style="half",
        rms_norm_eps=1e-5, tied_embeddings=False, attention_bias=architecture == "qwen2", hidden_act="silu",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_template_is_what_transformers_builds(architecture, tied):
    ours = config(architecture, tied_embeddings=tied)
    built = transformers.AutoConfig.for_model(architecture, **ours.to_transformers())
    model = transformers.AutoModelForCausalLM.from_config(built)
    theirs = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert expected_tensors(ours) == theirs


def test_the_template_of_a_folder_is_its_tensors(random_qwen2_folder, random_llama_folder):
    from pytest_aprqa.formats.opening import open_tensor_file

    for folder in (random_qwen2_folder, random_llama_folder):
        with open_tensor_file(folder) as file:
            assert expected_tensors(config_from_hf(folder)) == {n: e.shape for n, e in file.entries.items()}


def test_an_unknown_family_is_refused_by_name():
    with pytest.raises(
        ModelError, match=r"architecture: is not known .found mamba, limit llama, mistral, qwen2, granite"
    ):
        expected_tensors(config("mamba"))


@pytest.mark.parametrize(
    ("dimensions", "q_shape", "k_shape"),
    [
        ((32000, 4096, 11008, 32, 8, 128), (4096, 4096), (1024, 4096)),
        ((151936, 1536, 8960, 12, 2, 128), (1536, 1536), (256, 1536)),
        ((151936, 1024, 3072, 16, 8, 128), (2048, 1024), (1024, 1024)),
        ((151936, 2560, 9728, 32, 8, 128), (4096, 2560), (1024, 2560)),
    ],
)
def test_projections_have_heads_times_the_declared_head_size_rows(dimensions, q_shape, k_shape):
    vocab, hidden, inner, heads, keys, head_dim = dimensions
    expected = expected_tensors(
        config("qwen3", vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_heads=heads,
               num_kv_heads=keys, head_dim=head_dim, num_layers=1)
    )  # fmt: skip
    assert expected[Q] == q_shape
    assert expected[K] == k_shape
    assert expected["model.layers.0.self_attn.q_norm.weight"] == (head_dim,)


# -- LAYOUT-002 --------------------------------------------------------------------------------------------------------


def test_right_shapes_are_no_layout_problem():
    assert layout_problems(config(), expected_tensors(config())) == []


@pytest.mark.parametrize(
    ("name", "shape", "rule", "severity"),
    [
        ("model.layers.1.mlp.down_proj.weight", (96, 64), "F-LAYOUT-CONTRACT-001", "P0"),
        ("model.embed_tokens.weight", (64, 50), "F-LAYOUT-CONTRACT-001", "P0"),
        (K, (64, 64), "F-LAYOUT-CONTRACT-001", "P0"),
        (HEAD, (64, 50), "F-LAYOUT-CONTRACT-002", "P0"),
        (HEAD, (51, 64), "F-LAYOUT-CONTRACT-002", "P0"),
        ("model.norm.weight", (63,), "F-LAYOUT-CONTRACT-003", "P1"),
        ("model.layers.0.input_layernorm.weight", (64, 1), "F-LAYOUT-CONTRACT-003", "P1"),
    ],
)
def test_each_rule_names_its_tensor(name, shape, rule, severity):
    shapes = expected_tensors(config()) | {name: shape}
    (problem,) = layout_problems(config(), shapes)
    assert (problem.rule, problem.severity, problem.tensor) == (rule, severity, name)
    assert str(problem).startswith(f"{rule}: {name} shape ")
    assert f"expected {list(expected_tensors(config())[name])}, got {list(shape)}" in problem.message


def test_the_heads_message_is_that_of_its_historical_defect():
    (problem,) = layout_problems(config(), {HEAD: (64, 50)})
    expected = "lm_head.weight shape MISMATCH (GH-202 bug pattern): expected [50, 64], got [64, 50] (transposed)"
    assert problem.message == expected


def test_a_tied_head_that_is_stored_all_the_same_is_checked():
    tied = config(tied_embeddings=True)
    assert layout_problems(tied, {HEAD: (50, 64)}) == []
    assert len(layout_problems(tied, {HEAD: (64, 50)})) == 1


def test_only_tensors_that_exist_are_looked_at():
    assert layout_problems(config(), {}) == []
    assert layout_problems(config(), {"other.weight": (1, 2)}) == []


# -- integrity ---------------------------------------------------------------------------------------------------------


def layers(count: int, start: int = 0) -> dict[str, tuple[int, ...]]:
    return {f"model.layers.{n}.mlp.up_proj.weight": (1, 1) for n in range(start, count)}


def test_the_historical_defect_gives_exactly_its_three_messages():
    shapes = layers(24) | {"model.embed_tokens.weight": (151936, 896)}
    wrong = config(num_layers=14, hidden_size=4096, vocab_size=896)
    assert integrity_problems(wrong, shapes) == [
        "G0-INTEGRITY-LAYERS: config says 14 layers but tensors have 24",
        "G0-INTEGRITY-HIDDEN: config says hidden_size=4096 but embedding has 896",
        "G0-INTEGRITY-VOCAB: config says vocab_size=896 but embedding has 151936",
    ]
    assert integrity_problems(config(num_layers=24, hidden_size=896, vocab_size=151936), shapes) == []


def test_layer_numbers_count_only_as_a_segment_of_a_name():
    shapes = layers(2) | {"batch.7.weight": (1,), "model.norm.weight": (64,), "xlayers.9.w": (1,)}
    assert integrity_problems(config(), shapes) == []
    assert integrity_problems(config(num_layers=3), {"transformer.h.2.w": (1,), "h.1.w": (1,), "blk.0.w": (1,)}) == []


def test_a_layer_without_tensors_is_named():
    shapes = {n: s for n, s in layers(3).items() if ".1." not in n}
    assert integrity_problems(config(num_layers=3), shapes) == ["G0-INTEGRITY-LAYERS: layer 1 has no tensors"]


def test_a_layer_that_lacks_a_role_of_the_others_is_named():
    shapes = expected_tensors(config())
    del shapes["model.layers.1.mlp.up_proj.weight"]
    expected = ["G0-INTEGRITY-LAYERS: layer 1 lacks mlp.up_proj.weight that others have"]
    assert integrity_problems(config(), shapes) == expected


def test_heads_that_do_not_make_the_rows_are_named():
    (problem,) = integrity_problems(config(num_heads=2), expected_tensors(config()))
    assert problem == "G0-INTEGRITY-HEADS: config says 2 heads of 16 but q_proj has 64 rows"
    (problem,) = integrity_problems(config(num_kv_heads=4), expected_tensors(config()))
    assert problem == "G0-INTEGRITY-HEADS: config says 4 heads of 16 but k_proj has 32 rows"


def test_heads_that_key_value_heads_do_not_share_are_named():
    shapes = {n: s for n, s in expected_tensors(config()).items() if "self_attn" not in n}
    (problem,) = integrity_problems(config(num_kv_heads=3), shapes)
    assert problem == "G0-INTEGRITY-HEADS: config says 4 heads, which is no multiple of 3 key-value heads"


@pytest.mark.parametrize("name", ["embed_tokens.weight", "transformer.wte.weight", "wte.weight", "lm_head.weight"])
def test_the_embedding_is_found_under_its_known_names(name):
    (problem,) = integrity_problems(config(), {name: (51, 64)})
    assert problem == "G0-INTEGRITY-VOCAB: config says vocab_size=50 but embedding has 51"


def test_what_is_not_known_is_not_compared():
    assert integrity_problems(config(), {}) == []
    assert integrity_problems(config(), {"model.embed_tokens.weight": (7,)}) == []


def test_a_hostile_layer_number_costs_nothing():
    problems = integrity_problems(config(), {"layers.999999.w": (1,), "layers.99999999999999999999.w": (1,)})
    assert problems[0] == "G0-INTEGRITY-LAYERS: config says 2 layers but tensors have 1000000"
    assert len(problems) <= 1000


def test_gguf_names_the_architecture_that_runs_a_family():
    assert same_architecture("llama", "mistral", "gguf")
    assert same_architecture("qwen2", "qwen2", "gguf")
    assert not same_architecture("llama", "mistral", "apr")
    assert not same_architecture("mistral", "llama", "gguf")
