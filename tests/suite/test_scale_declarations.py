"""Caps, multipliers and experts of a token: lost or changed numbers are named, defaults of both sides are the same."""

from types import SimpleNamespace

import pytest

from pytest_aprqa.suite.scale_declarations import scales_of_gguf, scales_of_json


def of_gguf(family, document, keys, architecture=None, scaling=()):
    """{key: (found, expected)} of what differs."""
    name = architecture or family
    config = SimpleNamespace(architecture=family, rope_scaling=scaling, max_position_embeddings=256)
    source = SimpleNamespace(config=config)
    metadata = {f"{name}.{key}": value for key, value in keys.items()}
    target = SimpleNamespace(config=SimpleNamespace(architecture=name), file=SimpleNamespace(metadata=metadata))
    rows = scales_of_gguf(document, source, target)
    return {key: row[:2] for key, row in rows.items() if not row[2]}


CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
GRANITE = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.0078125}
GRANITE |= {"logits_scaling": 8.0}
STORED = {"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.0078125, "logit_scale": 8.0}


@pytest.mark.parametrize(
    ("document", "keys", "wrong"),
    [
        (CAPS, CAPS, {}),
        (CAPS, {}, {}),  # llama.cpp takes the same two without the keys
        ({}, CAPS, {}),
        ({**CAPS, "final_logit_softcapping": 20.0}, {}, {"final_logit_softcapping": (30.0, 20.0)}),
        (CAPS, {**CAPS, "attn_logit_softcapping": 49.99}, {"attn_logit_softcapping": (49.99, 50.0)}),
        (CAPS, {**CAPS, "attn_logit_softcapping": 50.00001}, {}),
        ({**CAPS, "attn_logit_softcapping": None}, CAPS, {"attn_logit_softcapping": (50.0, 0.0)}),
        ({**CAPS, "attn_logit_softcapping": None}, {**CAPS, "attn_logit_softcapping": 0.0}, {}),
    ],
)
def test_caps_of_gemma_2(document, keys, wrong):
    assert of_gguf("gemma2", document, keys) == wrong


def test_multipliers_of_granite():
    assert of_gguf("granite", GRANITE, STORED) == {}
    for key, value in STORED.items():
        others = {name: one for name, one in STORED.items() if name != key}
        found = of_gguf("granite", GRANITE, others)
        assert list(found) == [key]
        assert found[key][1] == value
    assert of_gguf("granite", GRANITE, {**STORED, "residual_scale": 1.0}) == {"residual_scale": (1.0, 0.22)}
    assert of_gguf("granite", {}, {"attention.scale": 1.0, "logit_scale": 1.0}) == {}


def test_keys_that_the_family_does_not_obey_are_left_alone():
    assert of_gguf("qwen2", {}, {"logit_scale": 0.5, "final_logit_softcapping": 30.0}) == {}


@pytest.mark.parametrize(
    ("mine", "theirs", "wrong"),
    [
        ({"num_experts_per_tok": 8}, {"num_experts_per_tok": 8}, {}),
        ({"num_experts_per_tok": 8}, {"num_experts_per_tok": 2}, {"num_experts_per_tok": (2, 8)}),
        ({"num_experts_per_tok": 8}, {}, {"num_experts_per_tok": (None, 8)}),
        ({}, {"num_experts_per_tok": 8}, {}),
        (
            {"final_logit_softcapping": None},
            {"final_logit_softcapping": 30.0},
            {"final_logit_softcapping": (30.0, None)},
        ),
        ({"final_logit_softcapping": None}, {}, {}),
        ({"norm_topk_prob": True}, {"norm_topk_prob": False}, {"norm_topk_prob": (False, True)}),
        ({"initializer_range": 0.02}, {"initializer_range": 0.5}, {}),
        ({"logits_scaling": 8}, {"logits_scaling": 8.0}, {}),
    ],
)
def test_fields_of_config_json(mine, theirs, wrong):
    rows = scales_of_json(mine, theirs)
    assert {field: row[:2] for field, row in rows.items() if not row[2]} == wrong


LONG = (("long_factor", (2.0, 3.0)), ("rope_type", "longrope"), ("short_factor", (1.0, 1.1)))
KEYS = {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": (1 + 2 / 6) ** 0.5}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"rope.scaling.original_context_length": 128}, ["rope.scaling.original_context_length"]),
        ({"rope.scaling.original_context_length": None}, ["rope.scaling.original_context_length"]),
        ({"rope.scaling.attn_factor": None}, ["rope.scaling.attn_factor"]),
        ({"rope.scaling.attn_factor": KEYS["rope.scaling.attn_factor"] * (1 + 2e-6)}, ["rope.scaling.attn_factor"]),
    ],
)
def test_a_long_context_has_the_factor_that_loaders_compute(changes, wrong):
    """256 positions from 64: the root of 1 + log 4 / log 64."""
    keys = {key: value for key, value in (KEYS | changes).items() if value is not None}
    document = {"original_max_position_embeddings": 64}
    assert list(of_gguf("phi3", document, keys, scaling=LONG)) == wrong
    assert of_gguf("phi3", document, {}, scaling=()) == {}
