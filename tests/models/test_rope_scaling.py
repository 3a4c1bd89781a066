"""Rotary scaling from all three declarations, compared whatever its spelling; each wrong value is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.models.config import config_from_apr, config_from_gguf, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.rope_scaling import (
    FACTORS,
    STORED_FACTORS,
    llama3_divisors,
    scaling_from_gguf,
    scaling_from_hf,
    scaling_problem,
)

FILE = Path("m.gguf")
LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
LINEAR = {"type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
KEY = "llama.rope.scaling."
GGUF = {
    "general.architecture": "llama", "llama.embedding_length": 64, "llama.attention.head_count": 4,
    "llama.block_count": 2, "llama.feed_forward_length": 96, "llama.context_length": 128, "llama.vocab_size": 50,
}  # fmt: skip
APR = {
    "architecture": "llama", "hidden_size": 64, "num_heads": 4, "num_layers": 2, "intermediate_size": 96,
    "max_position_embeddings": 128, "vocab_size": 50,
}  # fmt: skip
HF = {
    "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 96,
    "max_position_embeddings": 128, "vocab_size": 50,
}  # fmt: skip


def told(source, target, **options):
    return scaling_problem(source, target, **({"theta": 5e5, "head_dim": 64} | options))


@pytest.mark.parametrize(
    ("declared", "keys"),
    [
        (LINEAR, {"type": "linear", "factor": 4.0}),
        (YARN, {"type": "yarn", "factor": 4.0, "original_context_length": 32768}),
        (YARN | {"beta_fast": 32, "truncate": True}, {"type": "yarn", "factor": 4.0, "original_context_length": 32768}),
        (YARN | {"attention_factor": 0.9}, {"type": "yarn", "factor": 4.0, "original_context_length": 32768,
                                            "attn_factor": 0.9}),
        ({"rope_type": "default", "rope_theta": 1e6}, {"type": "none"}),
        ({}, {}),
    ],
)  # fmt: skip
def test_one_scaling_in_three_declarations(tmp_path, declared, keys):
    (tmp_path / "config.json").write_text(json.dumps(HF | {"rope_scaling": declared}))
    source = config_from_hf(tmp_path).rope_scaling
    gguf = config_from_gguf(FILE, GGUF | {KEY + name: value for name, value in keys.items()}, {}).rope_scaling
    apr = config_from_apr(FILE, APR | ({"rope_scaling": declared} if declared else {}), {}).rope_scaling
    assert told(source, gguf) is None
    assert told(source, apr) is None
    assert (source == ()) == (gguf == ())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "rope scaling: factor is None, expected 4.0"),
        (YARN | {"factor": 4.001}, "rope scaling: factor is 4.001, expected 4.0"),
        (YARN | {"original_max_position_embeddings": 4096}, "is 4096, expected 32768"),
        (YARN | {"rope_type": "linear"}, "rope_type is 'linear', expected 'yarn'"),
        (YARN | {"beta_slow": 2.0}, "beta_slow is 2.0, expected None"),
    ],
)
def test_another_scaling_is_told(target, message):
    assert message in told(scaling_from_hf(FILE, YARN), scaling_from_hf(FILE, target))


def test_digits_that_float32_loses_are_no_difference():
    assert told(scaling_from_hf(FILE, YARN), scaling_from_hf(FILE, YARN | {"factor": 4.00003})) is None
    assert told(scaling_from_hf(FILE, YARN), scaling_from_hf(FILE, YARN | {"factor": 4.00005})) is not None


def test_divisors_of_llama3_are_those_of_transformers():
    config = transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=4, rope_parameters=LLAMA3 | {"rope_theta": 5e5},
        max_position_embeddings=131072,
    )  # fmt: skip
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / 5e5 ** (torch.arange(0, 64, 2).float() / 64)
    ours = llama3_divisors(scaling_from_hf(FILE, LLAMA3), 5e5, 64)
    assert torch.allclose(plain / scaled, torch.tensor(ours), rtol=1e-4)
    assert ours[0] == 1.0
    assert ours[-1] == 32.0


def test_llama3_in_gguf_is_its_tensor_of_divisors():
    entries = {FACTORS: TensorEntry(FACTORS, "F32", (32,), 0, 128)}
    assert config_from_gguf(FILE, GGUF, entries).rope_scaling == STORED_FACTORS
    source = scaling_from_hf(FILE, LLAMA3)
    right = llama3_divisors(source, 5e5, 64)
    assert told(source, STORED_FACTORS, divisors=right) is None
    wrong = [*right[:20], right[20] * 1.001, *right[21:]]
    assert "divisor 20 is" in told(source, STORED_FACTORS, divisors=wrong)
    assert "0 divisors in rope_freqs.weight, expected 32" in told(source, STORED_FACTORS)
    assert "the source declares none" in told((), STORED_FACTORS, divisors=right)
    assert "rope_type is None, expected 'llama3'" in told(source, ()) or "expected" in told(source, ())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"type": "magic"},
            "llama.rope.scaling.type: is not known .*found 'magic', limit none, linear, yarn, longrope",
        ),
        ({"type": 3}, "llama.rope.scaling.type: is not known"),
        ({"type": "linear", "factor": 0.0}, "llama.rope.scaling.factor: is not a positive number"),
        ({"type": "yarn", "original_context_length": "x"}, "original_context_length: is not a positive number"),
        ({"type": "yarn", "yarn_beta_fast": True}, "yarn_beta_fast: is not a positive number"),
    ],
)
def test_wrong_keys_are_refused(keys, message):
    with pytest.raises(ModelError, match=message):
        scaling_from_gguf(FILE, {KEY + name: value for name, value in keys.items()}, KEY)


@pytest.mark.parametrize(
    "declared", [{"rope_type": 3}, {"rope_type": "linear", "factor": "4"}, {"type": "yarn", "factor": -1}]
)
def test_a_wrong_declaration_is_refused(tmp_path, declared):
    (tmp_path / "config.json").write_text(json.dumps(HF | {"rope_scaling": declared}))
    with pytest.raises(ModelError, match=r"rope_(type|scaling factor): is not"):
        config_from_hf(tmp_path)
    with pytest.raises(ModelError, match="rope_scaling: is not a mapping"):
        config_from_apr(FILE, APR | {"rope_scaling": "linear"}, {})


def test_windows_experts_and_biases_of_gguf_are_read():
    entries = {
        name: TensorEntry(name, "F32", (64,), 0, 256) for name in ("blk.0.attn_output.bias", "blk.0.ffn_down.bias")
    }
    keys = {"attention.sliding_window": 4096, "expert_count": 8, "expert_feed_forward_length": 40}
    config = config_from_gguf(FILE, GGUF | {f"llama.{name}": value for name, value in keys.items()}, entries)
    assert (config.sliding_window, config.num_experts, config.expert_size) == (4096, 8, 40)
    assert config.output_bias
    assert config.mlp_bias
    plain = config_from_gguf(FILE, GGUF | {"llama.attention.sliding_window": 0, "llama.expert_count": 0}, {})
    assert (plain.sliding_window, plain.num_experts, plain.expert_size) == (None, 0, 0)
    assert not plain.output_bias
    with pytest.raises(ModelError, match=r"llama\.attention\.sliding_window: is not a positive whole number"):
        config_from_gguf(FILE, GGUF | {"llama.attention.sliding_window": -1}, {})


@pytest.mark.parametrize("field", [key for key in GGUF if key not in ("general.architecture", "llama.vocab_size")])
def test_a_missing_key_is_a_typed_error(field):
    with pytest.raises(ModelError, match=f"{field}: is missing"):
        config_from_gguf(FILE, {key: value for key, value in GGUF.items() if key != field}, {})
