"""Keys of GGUF for which llama.cpp refuses a file: each rule refused, and left alone where it holds."""

import pytest

from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.models.gguf_engine_keys import MISSING, WRONG_TYPE, key_problems


@pytest.fixture(scope="module")
def clean(random_qwen2_folder, tmp_path_factory):
    """(metadata, types) of a file that our converter wrote."""
    with GgufFile(convert(random_qwen2_folder, ["gguf"], tmp_path_factory.mktemp("keys"))) as file:
        return dict(file.metadata), dict(file.value_types)


def told(metadata, types):
    return [(one.key, one.found, one.limit, one.cause) for one in key_problems(metadata, types)]


def test_a_file_of_our_converter_has_no_refused_key(clean):
    assert told(*clean) == []


@pytest.mark.parametrize(
    ("key", "written", "limit"),
    [
        ("qwen2.block_count", "uint64", "uint32"),
        ("qwen2.block_count", "int32", "uint32"),
        ("qwen2.rope.freq_base", "float64", "float32"),
        ("tokenizer.ggml.add_bos_token", "uint8", "bool"),
        ("tokenizer.ggml.eos_token_id", "int32", "uint32"),
        ("general.file_type", "string", "uint32"),
        ("qwen2.attention.head_count_kv", "int32", "uint32 or array[int32] or array[uint32]"),
    ],
)
def test_a_value_of_another_type_is_refused(clean, key, written, limit):
    metadata, types = clean
    assert told(metadata, {**types, key: written}) == [(key, f"of type {written}", limit, WRONG_TYPE)]


def test_counts_of_heads_may_be_one_a_layer(clean):
    metadata, types = clean
    assert told(metadata, {**types, "qwen2.attention.head_count_kv": "array[int32]"}) == []


@pytest.mark.parametrize("key", ["tokenizer.ggml.model", "qwen2.attention.layer_norm_rms_epsilon"])
def test_a_key_without_which_nothing_is_loaded(clean, key):
    metadata, types = ({k: v for k, v in one.items() if k != key} for one in clean)
    ((found, what, _, cause),) = told(metadata, types)
    assert (found, what, cause) == (key, "missing", MISSING)


def test_the_epsilon_is_the_one_of_the_norms_and_experts_need_their_number():
    model = {"tokenizer.ggml.model": "gpt2"}
    falcon = {**model, "general.architecture": "falcon"}
    assert [key for key, *_ in told(falcon, {})] == ["falcon.attention.layer_norm_epsilon"]
    assert told({**falcon, "falcon.attention.layer_norm_epsilon": 1e-5}, {}) == []
    unknown = {**model, "general.architecture": "nonesuch"}
    assert told(unknown, {}) == []
    assert [key for key, *_ in told({**unknown, "nonesuch.expert_count": 8}, {})] == ["nonesuch.expert_used_count"]
    assert told({**unknown, "nonesuch.expert_count": 8, "nonesuch.expert_used_count": 2}, {}) == []
