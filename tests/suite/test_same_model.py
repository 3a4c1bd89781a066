"""Two artifacts compared: the same model in another format has no difference, each change is one with its cause."""

import dataclasses

import pytest

from pytest_aprqa.conversions import conversions_for
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.same_model import compare_models, declaration_differences, name_differences


@pytest.fixture
def pair(random_qwen2_folder, tmp_path):
    """The source and its GGUF form, open."""
    with open_artifact(random_qwen2_folder) as a, open_artifact(convert(random_qwen2_folder, ["gguf"], tmp_path)) as b:
        yield a, b


def causes(result):
    return {(d.where, d.cause) for d in result.differences}


def test_the_same_model_in_another_format_does_not_differ(pair):
    result = compare_models(*pair)
    assert result.differences == []
    assert result.tensors == len(pair[0].tensors.names())
    assert result.tokens > 0
    assert result.fields == len(dataclasses.fields(pair[0].config))


def test_a_declared_number_just_off_and_just_within_float32(pair):
    theta = pair[0].config.rope_theta
    for factor, differs in ((1 + 0.9e-6, False), (1 + 1.2e-6, True)):
        pair[1].__dict__["config"] = dataclasses.replace(pair[1].config, rope_theta=theta * factor)
        assert (("rope_theta", "another rope_theta is declared") in causes(compare_models(*pair))) == differs


@pytest.mark.parametrize(("missing", "same"), [(0, True), (1, False)])
def test_a_window_as_long_as_the_context_is_none(pair, missing, same):
    """Mistral's default of 4096 tokens says nothing of a model that sees fewer."""
    window = pair[0].config.max_position_embeddings - missing
    pair[0].__dict__["config"] = dataclasses.replace(pair[0].config, sliding_window=window)
    assert declaration_differences(*pair)["sliding_window"] == (None, window, same)


def test_tokens_and_template_that_differ_are_named(pair):
    pair[1].__dict__["tokenizer"] = dataclasses.replace(
        pair[1].tokenizer, chat_template=None, end_ids=frozenset({1}), merges=pair[1].tokenizer.merges[:-40]
    )
    found = causes(compare_models(*pair))
    assert ("chat template", "the chat template was changed or lost") in found
    assert ("stop tokens", "the stop tokens were changed") in found
    assert any(cause == "another tokenization" for _, cause in found)


def test_a_tied_head_may_be_stored_or_left_out(random_qwen2_folder, random_llama_folder, tmp_path):
    with open_artifact(random_qwen2_folder) as a, open_artifact(convert(random_qwen2_folder, ["apr"], tmp_path)) as b:
        assert "lm_head.weight" in b.tensors.names()
        assert name_differences(a, b) == ([], [])
        assert name_differences(b, a) == ([], [])
        b.__dict__["config"] = dataclasses.replace(b.config, tied_embeddings=False)
        assert name_differences(a, b) == ([], ["lm_head.weight"])


def test_conversions_of_a_playbook_are_those_whose_formats_it_has():
    names = {one.name for one in conversions_for(["safetensors", "apr", "gguf"])}
    assert {"G-A", "A-G", "G-S", "S-G", "A-S", "S-A", "RT-001", "RT-BYTE-001", "COM-001", "S-G:q8_0"} <= names
    two = {one.gate for one in conversions_for(["safetensors", "gguf"])}
    assert two == {"G-S", "S-G", "RT-005"}
    assert conversions_for(["gguf"]) == []
    assert conversions_for([]) == []


def test_damage_that_was_there_before_is_not_the_conversions(random_qwen2_folder, tmp_path):
    from pytest_aprqa.defects.catalogue import apply_defect

    broken = apply_defect("gguf-nan-in-tensor", convert(random_qwen2_folder, ["gguf"], tmp_path), tmp_path / "n.gguf")
    with open_artifact(broken) as a, open_artifact(convert(broken, ["apr"], tmp_path / "again")) as b:
        assert compare_models(a, b).differences == []
    with open_artifact(random_qwen2_folder) as a, open_artifact(broken) as b:
        assert any(cause == "NaN or infinite values" for _, cause in causes(compare_models(a, b)))
