"""What engines obey besides dimensions: each field named when it is another, and left alone when it says the same."""

import json
import shutil

import pytest

from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.other_declarations import other_declarations


@pytest.fixture(scope="module")
def gguf(random_qwen2_folder, tmp_path_factory):
    return convert(random_qwen2_folder, ["gguf"], tmp_path_factory.mktemp("gguf"))


def differing(source, target):
    with open_artifact(source) as first, open_artifact(target) as second:
        rows = other_declarations(first, second)
    return {field: (found, expected) for field, (found, expected, same) in rows.items() if not same}


def with_key(gguf, key, value, target):
    with GgufFile(gguf) as file:
        rows = [(k, value if k == key else v, t) for k, v, t in file.typed_metadata()]
        tensors = [(e.name, e.dtype, e.shape, bytes(file.raw(e.name))) for e in file.entries.values()]
        return write_gguf(target, "qwen2", rows, tensors)


def with_json(folder, target, **fields):
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return target


@pytest.mark.parametrize(
    ("key", "right", "wrong"), [("rope.dimension_count", 16, 8), ("attention.value_length", 16, 32)]
)
def test_keys_of_a_head_that_llama_cpp_obeys(random_qwen2_folder, gguf, tmp_path, key, right, wrong):
    assert differing(random_qwen2_folder, gguf) == {}
    same = with_key(gguf, f"qwen2.{key}", right, tmp_path / "same.gguf")
    assert differing(random_qwen2_folder, same) == {}
    other = with_key(gguf, f"qwen2.{key}", wrong, tmp_path / "other.gguf")
    assert differing(random_qwen2_folder, other) == {key: (wrong, right)}


def test_a_part_of_a_head_that_rotates_is_counted(random_qwen2_folder, gguf, tmp_path):
    source = with_json(random_qwen2_folder, tmp_path / "source", partial_rotary_factor=0.5)
    assert differing(source, gguf) == {"rope.dimension_count": (16, 8)}
    half = with_key(gguf, "qwen2.rope.dimension_count", 8, tmp_path / "half.gguf")
    assert differing(source, half) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("architectures", ["LlamaForCausalLM"]),
        ("architectures", None),
        ("auto_map", {"AutoModelForCausalLM": "modeling_other.OtherForCausalLM"}),
        ("partial_rotary_factor", 0.5),
        ("torch_dtype", "float16"),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ],
)
def test_a_field_of_config_json_that_chooses_code_or_types(random_qwen2_folder, tmp_path, field, value):
    assert differing(random_qwen2_folder, with_json(random_qwen2_folder, tmp_path / "same")) == {}
    other = with_json(random_qwen2_folder, tmp_path / "other", **{field: value})
    found = differing(random_qwen2_folder, other)
    assert list(found) == ["dtype" if field == "torch_dtype" else field]
    assert next(iter(found.values()))[0] == value


def test_layer_types_are_compared_where_both_declare_them(random_qwen2_folder, tmp_path):
    full, window = ["full_attention"] * 3, ["sliding_attention"] * 3
    one = with_json(random_qwen2_folder, tmp_path / "one", layer_types=full)
    two = with_json(random_qwen2_folder, tmp_path / "two", layer_types=window)
    assert differing(random_qwen2_folder, two) == {}
    assert differing(one, two) == {"layer_types": (window, full)}


def test_the_type_that_the_tensors_have_may_be_declared(random_qwen2_folder, tmp_path):
    """A source that declares float32 for BF16 tensors is no reason to refuse a target that says bfloat16."""
    source = with_json(random_qwen2_folder, tmp_path / "source", torch_dtype="float32")
    assert differing(source, random_qwen2_folder) == {}
