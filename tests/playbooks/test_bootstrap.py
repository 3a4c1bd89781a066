"""A first playbook: what each tier gets, where the dimensions come from, and what is refused."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.family_table import FAMILY_TABLE
from pytest_aprqa.playbooks.bootstrap import (
    bootstrap_text,
    checked_names,
    playbook_stem,
    shape_from_config,
    shape_from_contract,
    shape_from_table,
)
from pytest_aprqa.playbooks.document import load_yaml
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.tiers import parse_tier, tiers

REPOSITORY = "acme/Model-Of-Its-Own"
CONTRACT = """
family: qwen2
vendor: somebody
size_variants:
  1.5b: {hidden_dim: 1536, num_layers: 28, num_heads: 12, num_kv_heads: "2", vocab_size: 151936,
         intermediate_dim: 8960, max_position_embeddings: 2048, rope_theta: 1000000.0}
  half: {hidden_dim: 512}
constraints: {attention_type: mha, norm_type: rmsnorm, has_bias: "false", tied_embeddings: "yes"}
tensor_template: {embedding: model.embed_tokens.weight, per_layer: {q_bias: null}}
"""
CONFIG = {
    "model_type": "qwen2", "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936, "max_position_embeddings": 32768,
}  # fmt: skip


def loaded(tmp_path, tier, shape, size="1.5b", family="qwen2"):
    stem = playbook_stem(family, size, parse_tier(tier))
    path = tmp_path / f"{stem}.playbook.yaml"
    path.write_text(bootstrap_text(family, size, REPOSITORY, parse_tier(tier), shape))
    return load_playbook(path)


@pytest.mark.parametrize("tier", [tier.name for tier in tiers()])
def test_every_tier_gets_a_playbook_without_a_warning_that_is_large_enough_for_it(tmp_path, tier):
    playbook = loaded(tmp_path, tier, shape_from_table("qwen2", "1.5b"))
    assert playbook.warnings == ()
    assert playbook.name == f"qwen2-1.5b-{tier}"
    assert playbook.matrix.size >= parse_tier(tier).scenarios
    assert playbook.matrix.scenario_count == parse_tier(tier).new_count
    assert playbook.model.expected["hidden_dim"] == 1536
    assert (playbook.model.family, playbook.model.size_variant) == ("qwen2", "1.5b")
    smoke = tier == "smoke"
    assert playbook.matrix.modalities == (("run",) if smoke else ("run", "chat", "serve"))
    assert playbook.matrix.backends == (("cpu",) if smoke else ("cpu", "gpu"))
    assert (playbook.profile_ci is None) == smoke
    assert ("differential_tests.format_validation" in playbook.blocks) is not smoke


def test_the_worked_example_of_the_rules(tmp_path):
    playbook = loaded(tmp_path, "mvp", shape_from_table("qwen2", "1.5b"))
    assert len(playbook.matrix.prompts) == 16
    assert playbook.matrix.size == 18
    assert playbook.profile_ci["assertions"] == {"min_throughput": 30, "max_p99_ms": 500}
    profile = load_yaml(playbook.path).data["kernel_profile"]
    assert (profile["long_context"], profile["prompt_count"]) == (True, 16)


@pytest.mark.parametrize(
    ("size", "limits"),
    [("0.99b", (50, 200)), ("1b", (30, 500)), ("4.9b", (30, 500)), ("5b", (15, 1000)), ("29b", (5, 3000)),
     ("30b", (2, 5000)), ("70b", (1, 10_000))],
)  # fmt: skip
def test_limits_of_speed_follow_the_size(tmp_path, size, limits):
    playbook = loaded(tmp_path, "mvp", shape_from_table("llama", size), size=size, family="llama")
    assert tuple(playbook.profile_ci["assertions"].values()) == limits
    assert playbook.model.expected == {}


@pytest.mark.parametrize("family", sorted({*FAMILY_TABLE, "smollm", "qwen-coder", "granite-code"} - {"qwen2", "qwen"}))
def test_every_known_family_gets_one(tmp_path, family):
    size = "1.5b" if family == "qwen-coder" else "3b"
    assert loaded(tmp_path, "quick", shape_from_table(family, size), size, family).warnings == ()


@pytest.mark.parametrize(("positions", "long_context"), [(2048, False), (4096, False), (4097, True), (32768, True)])
def test_a_model_of_a_short_context_says_so_without_a_warning(tmp_path, positions, long_context):
    """Whether the context is long is the model's own: qwen2, whose models have long ones, may have another."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"max_position_embeddings": positions}))
    playbook = loaded(tmp_path, "mvp", shape_from_config(tmp_path / "config.json", "qwen2", "1.5b"))
    assert load_yaml(playbook.path).data["kernel_profile"]["long_context"] is long_context
    assert playbook.warnings == ()


def test_a_contract_gives_dimensions_and_constraints(tmp_path):
    (tmp_path / "qwen2.yaml").write_text(CONTRACT)
    shape = shape_from_contract(tmp_path, "qwen2", "1.5b")
    assert (shape.dimensions["num_kv_heads"], shape.max_positions) == (2, 2048)
    assert (shape.family.attention, shape.family.norm, shape.family.bias, shape.family.tied) == (
        "mha", "rms", False, True,
    )  # fmt: skip
    playbook = loaded(tmp_path, "mvp", shape)
    assert len(playbook.matrix.prompts) == 10, "multi-head, short, no bias"
    assert shape_from_contract(tmp_path / "qwen2.yaml", "qwen2", "half").dimensions == {"hidden_dim": 512}
    assert shape_from_contract(tmp_path, "qwen-coder", "half").family.name == "qwen2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("size_variants:", "sizes:"), "size_variants: is missing"),
        (("hidden_dim: 512", "hidden_dim: -1"), "hidden_dim: is not a count (found -1)"),
        (("hidden_dim: 512", "hidden_dim: true"), "is not a count"),
        (("{hidden_dim: 512}", "12"), "must be a mapping of dimensions"),
        (('"false"', "perhaps"), "has_bias: must be true or false (found 'perhaps')"),
        (("{attention_type", "[attention_type"), "not"),
        (("family: qwen2", "family: *x"), "alias"),
    ],
)
def test_a_contract_that_breaks_its_rules_is_one_line(tmp_path, change, words):
    (tmp_path / "qwen2.yaml").write_text(CONTRACT.replace(*change))
    with pytest.raises(PlaybookError) as raised:
        shape_from_contract(tmp_path, "qwen2", "1.5b")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_size_lists_those_that_there_are(tmp_path):
    (tmp_path / "qwen2.yaml").write_text(CONTRACT)
    with pytest.raises(PlaybookError, match=r"no size 9b; available: 1\.5b, half"):
        shape_from_contract(tmp_path, "qwen2", "9b")
    with pytest.raises(PlaybookError, match=r"available: 0\.5b, 1\.5b, 3b, 7b, 14b, 32b"):
        shape_from_table("qwen2", "9b")


def test_an_unknown_family_names_what_is_close(tmp_path):
    with pytest.raises(PlaybookError, match="no family qwen22; did you mean qwen2"):
        shape_from_table("qwen22", "1b")
    with pytest.raises(PlaybookError, match="no such contract"):
        shape_from_contract(tmp_path / "absent", "qwen2", "1b")


@pytest.mark.parametrize("name", ["", "config.json"])
def test_config_json_gives_the_dimensions_and_must_be_of_the_family_and_size(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    shape = shape_from_config(tmp_path / name, "qwen-coder", "1.5b")
    assert shape.dimensions == {
        "hidden_dim": 1536, "num_layers": 28, "num_heads": 12, "num_kv_heads": 2, "vocab_size": 151936,
        "intermediate_dim": 8960,
    }  # fmt: skip
    assert loaded(tmp_path, "mvp", shape).model.expected["vocab_size"] == 151936
    with pytest.raises(PlaybookError, match="is of the family qwen2, not llama; bootstrap qwen2"):
        shape_from_config(tmp_path / name, "llama", "1.5b")
    with pytest.raises(PlaybookError, match=r"has the dimensions of size 1\.5b, not 7b"):
        shape_from_config(tmp_path / name, "qwen2", "7b")
    (tmp_path / "config.json").write_text(json.dumps({name: v for name, v in CONFIG.items() if name != "hidden_size"}))
    with pytest.raises(ModelError, match="hidden_size"):
        shape_from_config(tmp_path / name, "qwen2", "1.5b")


def test_positions_of_the_config_decide_the_long_prompts(tmp_path):
    for positions, prompts in ((4096, 13), (4097, 16)):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"max_position_embeddings": positions}))
        shape = shape_from_config(tmp_path, "qwen2", "1.5b")
        assert len(loaded(tmp_path, "mvp", shape).matrix.prompts) == prompts


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("../x", "1b", "a/b"), "FAMILY: cannot be part of a playbook's name"),
        (("", "1b", "a/b"), "FAMILY"),
        (("qwen2", "1 b", "a/b"), "SIZE"),
        (("qwen2", "1b", "ab"), "--hf-repo: is not a repository"),
        (("qwen2", "1b", "a/.."), "--hf-repo"),
        (("qwen2", "1b", "a/b\n"), "--hf-repo"),
    ],
)
def test_names_that_could_leave_the_folder_are_refused(names, words):
    with pytest.raises(PlaybookError, match=words):
        checked_names(*names)
    assert checked_names("Qwen2", "1.5B", "a/b") == ("qwen2", "1.5b")


@pytest.mark.parametrize(("size", "stated"), [("1.5b", "1.5b"), ("2m", None)])
def test_only_a_published_size_is_stated_as_one(tmp_path, size, stated):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | ({} if stated else {"hidden_size": 768})))
    playbook = loaded(tmp_path, "mvp", shape_from_config(tmp_path, "qwen2", size), size)
    assert playbook.model.size_variant == stated
