"""Rotary scaling from all three declarations, compared whatever its spelling; each wrong value is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.config import config_from_apr, config_from_gguf, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.rope_scaling import (
    FACTORS,
    STORED_FACTORS,
    llama3_divisors,
    llama3_of_divisors,
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
                                            "attn_factor": 0.9 / (0.1 * math.log(4.0) + 1)}),
        (YARN | {"attention_factor": 0.1 * math.log(4.0) + 1}, {"type": "yarn", "factor": 4.0,
                                                                "original_context_length": 32768}),
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
    ("architecture", "declared", "message"),
    [
        ("llama", {}, None),
        ("llama", {"beta_fast": 16.0}, "beta_fast is None, expected 16.0"),
        ("qwen2", {"beta_slow": 2.0}, "beta_slow is None, expected 2.0"),
        ("mistral3", {"beta_fast": 16.0, "beta_slow": 2.0}, None),
        ("mistral3", {}, "beta_fast is 16.0, expected None"),
    ],
)
def test_keys_that_llama_cpp_passes_over_say_nothing(architecture, declared, message):
    """The file has the source's own betas (or others): computed are the defaults, but where the loader reads them."""
    keys = {"type": "yarn", "factor": 4.0, "original_context_length": 32768, "yarn_beta_fast": 16.0}
    keys |= {"yarn_beta_slow": 2.0} if declared or architecture == "llama" else {}
    prefix = f"{architecture}.rope.scaling."
    found = scaling_from_gguf(FILE, {prefix + name: value for name, value in keys.items()}, prefix)
    assert told(scaling_from_hf(FILE, YARN | declared), found) == (message and f"rope scaling: {message}")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "rope scaling: factor is None, expected 4.0"),
        (YARN | {"factor": 4.001}, "rope scaling: factor is 4.001, expected 4.0"),
        (YARN | {"original_max_position_embeddings": 4096}, "is 4096, expected 32768"),
        (YARN | {"rope_type": "linear"}, "rope_type is 'linear', expected 'yarn'"),
        (YARN | {"beta_slow": 2.0}, "beta_slow is 2.0, expected None"),
        (YARN | {"attention_factor": 1.1387}, "attention_factor is 1.1387, expected None"),
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


CHANGES = [{}, {"factor": 8.0}, {"original_max_position_embeddings": 2048}, {"high_freq_factor": 2.0}]


@pytest.mark.parametrize("theta", [1e4, 5e5])
@pytest.mark.parametrize("head_dim", [16, 64, 128])
@pytest.mark.parametrize("changes", CHANGES)
def test_the_rule_is_found_from_its_divisors(theta, head_dim, changes):
    source = scaling_from_hf(FILE, LLAMA3 | changes)
    divisors = [float(np.float32(d)) for d in llama3_divisors(source, theta, head_dim)]
    found = llama3_of_divisors(FILE, divisors, theta)
    assert told(source, found, theta=theta, head_dim=head_dim) is None


@pytest.mark.parametrize(
    ("changes", "bounds"),
    [
        ({}, (1.0, 4.0)),
        ({"original_max_position_embeddings": 2048}, (4.0, 16.0)),
        ({"low_freq_factor": 1.5}, (1.5, 4.0)),
    ],
)
def test_the_rule_that_is_found_has_the_digits_of_its_source(changes, bounds):
    divisors = [float(np.float32(d)) for d in llama3_divisors(scaling_from_hf(FILE, LLAMA3 | changes), 5e5, 128)]
    found = dict(llama3_of_divisors(FILE, divisors, 5e5))
    assert (found["low_freq_factor"], found["high_freq_factor"], found["factor"]) == (*bounds, 32.0)
    assert [float(np.float32(d)) for d in llama3_divisors(scaling_from_hf(FILE, found), 5e5, 128)] == divisors


@pytest.mark.parametrize("divisors", [[], [0.0, 1.0], [float("nan")], [1.0, 32.0, 1.0, 5.0], [float("inf"), 1.0]])
def test_divisors_of_no_rule_are_refused(divisors):
    with pytest.raises(ModelError, match=r"rope_freqs\.weight.*: holds divisors that"):
        llama3_of_divisors(FILE, divisors, 5e5)


def test_a_gguf_file_declares_the_rule_by_its_tensor(tmp_path):
    source = scaling_from_hf(FILE, LLAMA3)
    divisors = np.array(llama3_divisors(source, 5e5, 64), np.float32)
    keys = GGUF | {"llama.embedding_length": 256, "llama.rope.freq_base": 5e5}
    numbers = [
        (k, v, "float32" if isinstance(v, float) else "uint32") for k, v in keys.items() if not isinstance(v, str)
    ]
    write_gguf(tmp_path / "m.gguf", "llama", numbers, [(FACTORS, "F32", (32,), divisors)])
    with open_artifact(tmp_path / "m.gguf") as opened:
        assert dict(opened.config.rope_scaling)["rope_type"] == "llama3"
        assert "stored_as" not in dict(opened.config.rope_scaling)
        assert told(source, opened.config.rope_scaling) is None
        assert opened.tensors.names() == []
        assert opened.config.to_transformers()["rope_parameters"]["factor"] == pytest.approx(32.0)
    write_gguf(tmp_path / "short.gguf", "llama", numbers, [(FACTORS, "F32", (31,), divisors[:31])])
    refused = pytest.raises(ModelError, match=r"rope_freqs\.weight: .*found 31, limit 32")
    with open_artifact(tmp_path / "short.gguf") as opened, refused:
        opened.config  # noqa: B018 - reading it is the test


def test_llama3_in_gguf_is_its_tensor_of_divisors():
    entries = {FACTORS: TensorEntry(FACTORS, "F32", (32,), 0, 128)}
    assert config_from_gguf(FILE, GGUF, entries).rope_scaling == STORED_FACTORS
    source = scaling_from_hf(FILE, LLAMA3)
    right = llama3_divisors(source, 5e5, 64)
    assert told(source, STORED_FACTORS, divisors=right) is None
    wrong = [*right[:20], right[20] * 1.002, *right[21:]]
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


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({KEY + "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"llama.rope.scale_linear": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({KEY + "type": "linear", "llama.rope.scale_linear": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({KEY + "factor": 0.0}, {}),
        ({KEY + "type": "none", KEY + "factor": 4.0}, {}),
    ],
)
def test_a_factor_without_a_type_scales_linearly_as_in_llama_cpp(keys, expected):
    assert dict(scaling_from_gguf(FILE, keys, KEY)) == expected


@pytest.mark.parametrize(("factor", "same"), [(1.0, True), (1.001, False)])
def test_linear_scaling_by_one_is_none(factor, same):
    scaled = scaling_from_gguf(FILE, {KEY + "factor": factor}, KEY)
    assert (scaling_problem((), scaled, theta=1e4, head_dim=16) is None) == same
    assert (scaling_problem(scaled, (), theta=1e4, head_dim=16) is None) == same


def _long_file(path, long, short=(1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7)):
    """A GGUF file with LongRoPE's two tensors, None: without one of them."""
    keys = [
        (k, v, "string" if isinstance(v, str) else "uint32") for k, v in GGUF.items() if k != "general.architecture"
    ]
    rows = {"rope_factors_long.weight": long, "rope_factors_short.weight": short}
    tensors = [
        (name, "F32", (len(values),), np.array(values, "<f4").tobytes()) for name, values in rows.items() if values
    ]
    return write_gguf(path, "llama", keys, tensors)


LONG = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)


@pytest.mark.parametrize(
    ("long", "message"),
    [(LONG, None), ((2.00001, *LONG[1:]), None), ((2.001, *LONG[1:]), "long_factor"), (LONG[:4], "long_factor")],
)
def test_the_two_lists_of_a_long_context_are_tensors_in_gguf(tmp_path, long, message):
    """Phi-3 of 128k: no tensor is a weight of the model, both are the scaling that config.json declares."""
    short = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    declared = scaling_from_hf(FILE, {"type": "su", "long_factor": list(LONG), "short_factor": short})
    with open_artifact(_long_file(tmp_path / "m.gguf", long)) as artifact:
        problem = scaling_problem(declared, artifact.config.rope_scaling, theta=1e4, head_dim=16)
        assert artifact.tensors.names() == []
    assert (problem is None) if message is None else (message in problem)


def test_a_list_of_a_long_context_that_is_lost(tmp_path):
    declared = scaling_from_hf(FILE, {"type": "longrope", "long_factor": list(LONG), "short_factor": [1.0] * 8})
    with open_artifact(_long_file(tmp_path / "m.gguf", LONG, None)) as artifact:
        assert "short_factor" in scaling_problem(declared, artifact.config.rope_scaling, theta=1e4, head_dim=16)
