"""The family table against the tensor templates and the published dimensions."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_aprqa.models.config import BIASED_FAMILIES, ModelConfig
from pytest_aprqa.models.families import FAMILIES, expected_tensors
from pytest_aprqa.models.family_table import FAMILY_TABLE, SIZES, size_of


def config(**changes: object) -> ModelConfig:
    made = ModelConfig(
        architecture="qwen2", hidden_size=1536, num_layers=28, num_heads=12, num_kv_heads=2, head_dim=128,
        intermediate_size=8960, vocab_size=151936, max_position_embeddings=32768, rope_theta=1e6, rope_style="half",
        rms_norm_eps=1e-6, tied_embeddings=True, attention_bias=True, hidden_act="silu",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_sixteen_families_are_known_and_those_that_run_are_among_them():
    assert len(FAMILY_TABLE) == 16
    assert set(FAMILIES) <= set(FAMILY_TABLE)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_templates_have_the_tensors_that_the_table_says(architecture):
    family = FAMILY_TABLE[architecture]
    bias = architecture in BIASED_FAMILIES
    names = expected_tensors(config(architecture=architecture, attention_bias=bias, tied_embeddings=family.tied))
    assert any(name.endswith("q_proj.bias") for name in names) == family.bias
    assert any(name.endswith("q_norm.weight") for name in names) == family.qk_norm
    assert any("gate_proj" in name for name in names) == (family.mlp == "swiglu")
    assert ("lm_head.weight" in names) != family.tied


@pytest.mark.parametrize(("size", "tensors"), [("0.5b", 290), ("7b", 338)])
def test_a_published_size_has_its_number_of_tensors(size, tensors):
    dimensions = SIZES["qwen2"][size]
    names = expected_tensors(config(num_layers=dimensions.num_layers))
    assert len(names) == tensors


def test_a_size_is_told_by_all_its_dimensions():
    assert size_of(config()) == "1.5b"
    assert size_of(config(num_heads=13)) is None
    assert size_of(config(architecture="llama")) is None
