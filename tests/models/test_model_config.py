"""Configurations: every format's declaration read into the same fields; what is missing or wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.models import config as config_module
from pytest_aprqa.models.config import ModelConfig, config_from_apr, config_from_gguf, config_from_hf
from pytest_aprqa.models.errors import ModelError

HF = MappingProxyType(
    {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    }
)
GGUF = MappingProxyType(
    {
        "general.architecture": "llama",
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.block_count": 3,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.context_length": 512,
        "llama.vocab_size": 300,
        "llama.rope.freq_base": 500000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
)
APR = MappingProxyType(
    {
        "architecture": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_layers": 3,
        "num_heads": 4,
        "num_kv_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 512,
        "rope_theta": 1000000.0,
        "rope_type": 2,
        "rms_norm_eps": 1e-6,
    }
)
FILE = Path("model.bin")


def write(folder: Path, document: object, name: str = "config.json") -> Path:
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


def entry(name: str, *shape: int, nbytes: int = 4) -> dict[str, TensorEntry]:
    return {name: TensorEntry(name, "F32", shape, 0, nbytes)}


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


# -- config.json -------------------------------------------------------------------------------------------------------


def test_config_json_is_read(tmp_path):
    assert config_from_hf(write(tmp_path, dict(HF))) == ModelConfig(
        architecture="qwen2", hidden_size=64, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=16,
        intermediate_size=128, vocab_size=300, max_position_embeddings=512, rope_theta=1e6, rope_style="half",
        rms_norm_eps=1e-6, tied_embeddings=True, attention_bias=True, hidden_act="silu",
    )  # fmt: skip


def test_the_rotary_base_is_read_where_old_and_new_versions_write_it(tmp_path):
    new = without(HF, "rope_theta") | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    assert config_from_hf(write(tmp_path, new)).rope_theta == 5e5
    assert config_from_hf(write(tmp_path, without(HF, "rope_theta"))).rope_theta == 1e4
    assert config_from_hf(write(tmp_path, HF | {"rope_scaling": None})).rope_theta == 1e6


@pytest.mark.parametrize("field", ["rope_parameters", "rope_scaling"])
def test_rotary_scaling_is_kept_and_handed_to_transformers(tmp_path, field):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 256}  # fmt: skip
    config = config_from_hf(write(tmp_path, HF | {"model_type": "llama", field: scaling}))
    assert config.to_transformers()["rope_parameters"] == scaling | {"rope_theta": 1e6}
    old = scaling | {"type": "llama3"}
    del old["rope_type"]
    assert config_from_hf(write(tmp_path, HF | {"model_type": "llama", field: old})).rope_scaling == config.rope_scaling


def test_the_head_size_is_the_declared_one_or_a_share_of_the_hidden_size(tmp_path):
    assert config_from_hf(write(tmp_path, HF | {"head_dim": 32})).head_dim == 32
    assert config_from_hf(write(tmp_path, HF | {"head_dim": None})).head_dim == 16
    assert config_from_hf(write(tmp_path, HF | {"model_type": "qwen3"})).head_dim == 128


def test_biases_are_those_of_the_family_unless_declared(tmp_path):
    assert not config_from_hf(write(tmp_path, HF | {"model_type": "llama"})).attention_bias
    assert config_from_hf(write(tmp_path, HF | {"model_type": "llama", "attention_bias": True})).attention_bias


@pytest.mark.parametrize(
    "field",
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"],
)
def test_a_missing_or_wrong_count_is_named(tmp_path, field):
    with pytest.raises(ModelError, match=rf"config\.json: {field}: is missing"):
        config_from_hf(write(tmp_path, without(HF, field)))
    for wrong in (0, -1, 2**31, 1.5, "64", True, [64], 10**5000):
        with pytest.raises(ModelError, match=rf"config\.json: {field}: is not a positive whole number") as caught:
            config_from_hf(write(tmp_path, HF | {field: wrong}) if wrong != 10**5000 else _huge(tmp_path, field))
        assert len(str(caught.value)) < 400
    largest = 10_000 if field == "num_hidden_layers" else 2**31 - 1
    config_from_hf(write(tmp_path, HF | {field: largest}))
    if field == "num_hidden_layers":
        with pytest.raises(ModelError, match=r"num_hidden_layers: is larger than of any model \(found 10001"):
            config_from_hf(write(tmp_path, HF | {field: 10_001}))


def _huge(folder: Path, field: str) -> Path:
    text = json.dumps(HF | {field: -7}).replace("-7", "1" * 4000)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("field", ["rope_theta", "rms_norm_eps"])
@pytest.mark.parametrize("wrong", [0, -1.0, "1e-6", True, float("nan"), float("inf"), {}])
def test_a_wrong_number_is_named(tmp_path, field, wrong):
    with pytest.raises(ModelError, match=f"{field}: is not a positive number"):
        config_from_hf(write(tmp_path, HF | {field: wrong}))


def test_a_flag_that_is_no_flag_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"tie_word_embeddings: is neither true nor false .found 'false'"):
        config_from_hf(write(tmp_path, HF | {"tie_word_embeddings": "false"}))


@pytest.mark.parametrize("wrong", [None, "", 7])
def test_a_missing_architecture_is_named(tmp_path, wrong):
    with pytest.raises(ModelError, match="model_type: is missing or not a name"):
        config_from_hf(write(tmp_path, HF | {"model_type": wrong}))


def test_a_missing_config_is_one_error_of_its_gate(tmp_path):
    with pytest.raises(ModelError, match=r"G0-INTEGRITY-CONFIG: config\.json not found or unreadable: "):
        config_from_hf(tmp_path)
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"G0-INTEGRITY-CONFIG: No config\.json found for .*m\.safetensors"):
        config_from_hf(tmp_path / "m.safetensors")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"])
def test_a_damaged_config_is_one_error_of_its_gate(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"G0-INTEGRITY-CONFIG: config\.json parse error: ") as caught:
        config_from_hf(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_is_read_up_to_the_limit(tmp_path, monkeypatch):
    size = (write(tmp_path, dict(HF)) / "config.json").stat().st_size
    monkeypatch.setattr(config_module, "LARGEST_CONFIG", size)
    config_from_hf(tmp_path)
    monkeypatch.setattr(config_module, "LARGEST_CONFIG", size - 1)
    with pytest.raises(ModelError, match=f"config.json is too large .found {size}, limit {size - 1}"):
        config_from_hf(tmp_path)


def test_a_weight_files_own_config_comes_first(tmp_path):
    write(tmp_path, HF | {"vocab_size": 1}, "config.json")
    write(tmp_path, HF | {"vocab_size": 2}, "m.config.json")
    (tmp_path / "m.safetensors").write_bytes(b"")
    assert config_from_hf(tmp_path / "m.safetensors").vocab_size == 2
    assert config_from_hf(tmp_path).vocab_size == 1
    (tmp_path / "config.json").unlink()
    assert config_from_hf(tmp_path).vocab_size == 2


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_transformers_builds_what_the_config_says(request, family):
    folder = request.getfixturevalue(f"random_{family}_folder")
    ours = config_from_hf(folder)
    built = transformers.AutoConfig.for_model(ours.architecture, **ours.to_transformers())
    theirs = transformers.AutoConfig.from_pretrained(folder)
    for name in ours.to_transformers():
        assert getattr(built, name) == getattr(theirs, name, None) or name == "head_dim", name


# -- GGUF --------------------------------------------------------------------------------------------------------------


def test_gguf_keys_are_read_under_their_architecture():
    config = config_from_gguf(FILE, GGUF, entry("token_embd.weight", 300, 64) | entry("output.weight", 300, 64))
    assert (config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim) == (64, 4, 2, 16)
    assert (config.rope_theta, config.rms_norm_eps, config.rope_style) == (500000.0, 1e-5, "half")
    assert not config.tied_embeddings
    assert not config.attention_bias


def test_gguf_head_and_biases_are_told_by_its_tensors():
    tensors = entry("token_embd.weight", 300, 64) | entry("blk.0.attn_q.bias", 64)
    config = config_from_gguf(FILE, without(GGUF, "llama.vocab_size"), tensors)
    assert config.tied_embeddings
    assert config.attention_bias
    assert config.vocab_size == 300


@pytest.mark.parametrize("key", ["general.architecture", *[k for k in GGUF if k.endswith(("length", "count"))]])
def test_a_missing_gguf_key_is_named(key):
    with pytest.raises(ModelError, match=rf"^model\.bin: {key}: is missing"):
        config_from_gguf(FILE, without(GGUF, key), {})


def test_keys_of_another_architecture_do_not_count():
    with pytest.raises(ModelError, match=r"qwen2\.embedding_length: is missing"):
        config_from_gguf(FILE, GGUF | {"general.architecture": "qwen2"}, {})


def test_gguf_rotary_scaling_is_kept():
    keys = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    parameters = config_from_gguf(FILE, GGUF | keys, {}).to_transformers()["rope_parameters"]
    assert parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0}
    assert config_from_gguf(FILE, GGUF | {"llama.rope.scaling.type": "none"}, {}).rope_scaling == ()


# -- APR ---------------------------------------------------------------------------------------------------------------


def test_apr_rope_type_says_how_rows_rotate():
    assert config_from_apr(FILE, APR, {}).rope_style == "half"
    assert config_from_apr(FILE, APR | {"rope_type": 0}, {}).rope_style == "interleaved"
    for wrong in (1, 3, -1, True, "2", [0], 2.0):
        with pytest.raises(ModelError, match=r"rope_type: unknown rotary convention .*limit 0 or 2"):
            config_from_apr(FILE, APR | {"rope_type": wrong}, {})


@pytest.mark.parametrize(
    ("architecture", "style", "theta", "eps"),
    [("qwen2", "half", 1e6, 1e-6), ("llama", "interleaved", 1e4, 1e-5), ("phi3", "half", 1e4, 1e-5)],
)
def test_apr_defaults_are_those_of_the_engine(architecture, style, theta, eps):
    fields = without(APR, "rope_type", "rope_theta", "rms_norm_eps", "num_kv_heads") | {"architecture": architecture}
    config = config_from_apr(FILE, fields, {})
    assert (config.rope_style, config.rope_theta, config.rms_norm_eps, config.num_kv_heads) == (style, theta, eps, 4)


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("hidden_size", "hidden_dim"),
        ("hidden_size", "d_model"),
        ("hidden_size", "n_embd"),
        ("num_layers", "n_layers"),
        ("num_layers", "num_hidden_layers"),
        ("num_layers", "n_layer"),
        ("num_heads", "n_heads"),
        ("num_heads", "num_attention_heads"),
        ("num_heads", "n_head"),
        ("num_kv_heads", "n_kv_heads"),
        ("num_kv_heads", "num_key_value_heads"),
        ("vocab_size", "n_vocab"),
        ("intermediate_size", "ffn_dim"),
        ("intermediate_size", "intermediate_dim"),
        ("intermediate_size", "n_inner"),
        ("max_position_embeddings", "max_seq_len"),
        ("max_position_embeddings", "context_length"),
        ("max_position_embeddings", "n_ctx"),
        ("rms_norm_eps", "layer_norm_eps"),
        ("rms_norm_eps", "norm_eps"),
        ("hidden_size", "model.hidden_size"),
    ],
)
def test_apr_aliases_are_read(name, alias):
    fields = without(APR, name) | {alias: APR[name]}
    assert config_from_apr(FILE, fields, {}) == config_from_apr(FILE, APR, {})
    assert config_from_apr(FILE, fields | {name: None}, {}) == config_from_apr(FILE, APR, {})


@pytest.mark.parametrize(
    "name", ["hidden_size", "num_layers", "num_heads", "intermediate_size", "max_position_embeddings"]
)
def test_a_missing_apr_dimension_is_named(name):
    with pytest.raises(ModelError, match=rf"^model\.bin: {name}: is missing; the file is incomplete"):
        config_from_apr(FILE, without(APR, name), {})


def test_the_apr_vocabulary_falls_back_to_the_embedding():
    fields = without(APR, "vocab_size")
    assert config_from_apr(FILE, fields, entry("model.embed_tokens.weight", 77, 64)).vocab_size == 77
    with pytest.raises(ModelError, match="vocab_size: is missing"):
        config_from_apr(FILE, fields, {})


def test_an_apr_head_is_tied_by_flag_by_absence_or_without_bytes():
    head, empty = entry("lm_head.weight", 300, 64), entry("lm_head.weight", 300, 64, nbytes=0)
    assert not config_from_apr(FILE, APR, head).tied_embeddings
    assert config_from_apr(FILE, APR | {"tied_embeddings": True}, head).tied_embeddings
    assert config_from_apr(FILE, APR, empty).tied_embeddings
    assert config_from_apr(FILE, APR, {}).tied_embeddings


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
)
READERS = {config_from_gguf: GGUF, config_from_apr: APR}


@pytest.mark.parametrize("read", READERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_value_of_any_key_is_read_or_refused_with_a_model_error(read, data):
    fields = READERS[read]
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(fields)), VALUES, min_size=1, max_size=3))
    try:
        config = read(FILE, dict(fields) | changes, {})
    except ModelError as error:
        refused = str(error)
    else:
        refused = ""
        assert config.head_dim >= 1
    assert "\n" not in refused


@given(
    changes=st.dictionaries(
        st.sampled_from([*sorted(HF), "rope_parameters", "rope_scaling", "head_dim"]), VALUES, max_size=3
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_config_json_is_read_or_refused_with_a_model_error(tmp_path, changes):
    write(tmp_path, dict(HF) | changes)
    try:
        refused = ""
        config_from_hf(tmp_path).to_transformers()
    except ModelError as error:
        refused = str(error)
    assert "\n" not in refused


def test_phi3_small_names_its_fields_in_its_own_way(tmp_path):
    """As its published config.json has them; its biases are there whatever `attention_bias` says, its head is tied."""
    own = {
        "model_type": "phi3small", "hidden_size": 64, "ff_intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50, "layer_norm_epsilon": 1e-05,
        "rope_embedding_base": 1000000, "max_position_embeddings": 128, "attention_bias": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own))
    config = config_from_hf(tmp_path)
    assert (config.intermediate_size, config.rope_theta, config.rms_norm_eps) == (96, 1e6, 1e-05)
    assert config.tied_embeddings


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, (24, 12, 16, 8, 20)),
        ({"q_lora_rank": None}, (24, 0, 16, 8, 20)),
        ({"kv_lora_rank": None}, (512, 12, 16, 8, 20)),
    ],
)
def test_latent_attention_is_read(tmp_path, change, found):
    own = {
        "model_type": "deepseek_v2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 50, "kv_lora_rank": 24, "q_lora_rank": 12, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 20, "n_routed_experts": 4, "n_shared_experts": None,
        "first_k_dense_replace": 0,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own | change))
    config = config_from_hf(tmp_path)
    latent = config.latent
    assert (latent.rank, latent.query_rank, latent.plain, latent.rotated, latent.value) == found
    assert (config.head_dim, config.num_experts, config.shared_experts, config.dense_layers) == (24, 4, 0, 0)


@pytest.mark.parametrize("value", [0, -1, "8", 1.5, True])
def test_a_size_of_latent_attention_that_is_no_count_is_one_line(tmp_path, value):
    own = {
        "model_type": "deepseek_v2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 50, "qk_rope_head_dim": value,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own))
    with pytest.raises(ModelError, match="qk_rope_head_dim: is not a positive whole number"):
        config_from_hf(tmp_path)
