"""The rows of every family against the name map of the `gguf` package, and back."""

import gguf
import pytest
from gguf.constants import MODEL_ARCH_NAMES

from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF, FAMILY_OF, TABLES, table_of
from pytest_aprqa.formats.names import expert_names, gguf_name, hf_name

FAMILIES = (*TABLES, "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "granite", "olmo", "nemotron", "smollm3")
ARCHITECTURES = {name: number for number, name in MODEL_ARCH_NAMES.items()}
# Rows that another family of the same table has and the package does not list for this one.
OWN = {"q_norm", "k_norm", "qkv_proj", "self_attn.q_layernorm", "self_attn.k_layernorm", "block_sparse_moe.gate"}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_gguf_package(family):
    table = table_of(family)
    architecture = ARCHITECTURES[ARCHITECTURE_OF.get(family, family)]
    theirs = gguf.get_tensor_name_map(architecture, 2)
    compared = 0
    for module, ours in table.globals.items():
        assert theirs.get_name(f"{module}.weight", (".weight", ".bias")) in (f"{ours}.weight", None)
        compared += theirs.get_name(f"{module}.weight", (".weight",)) is not None
    for module, ours in table.layers.items():
        found = theirs.get_name(f"{table.prefix}.1.{module}.weight", (".weight", ".bias"))
        if found is None:
            assert module.removeprefix("self_attn.") in OWN or module in OWN or "mlp." in module or family == "olmo", (
                module
            )
            continue
        compared += 1
        assert found == f"blk.1.{ours}.weight"
    assert compared >= 7


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_names_are_a_bijection_in_both_directions(family, part):
    table = table_of(family)
    names = [f"{module}.{part}" for module in table.globals]
    names += [f"{table.prefix}.{layer}.{module}.{part}" for layer in (0, 11) for module in table.layers]
    stored = [gguf_name(name, family) for name in names]
    assert len(set(stored)) == len(names)
    assert [hf_name(name, family) for name in stored] == names
    architecture = ARCHITECTURE_OF.get(family, family)
    if family != "falcon_two_norms":
        assert [hf_name(name, architecture) for name in stored] == names


def test_architectures_and_families_name_each_other():
    for architecture, family in FAMILY_OF.items():
        assert ARCHITECTURE_OF[family] == architecture
        assert table_of(architecture) is table_of(family) is TABLES[family]


def test_experts_share_one_stored_name():
    names = expert_names("blk.3.ffn_down_exps.weight", "qwen3_moe", 2)
    assert names == [f"model.layers.3.mlp.experts.{n}.down_proj.weight" for n in (0, 1)]
    assert expert_names("blk.3.ffn_up_exps.weight", "llama", 1) == [
        "model.layers.3.block_sparse_moe.experts.0.w3.weight"
    ]
    assert expert_names("blk.3.ffn_down.weight", "qwen3_moe", 2) == []
    assert expert_names("blk.3.ffn_down_exps.weight", "gemma2", 2) == []
    assert hf_name("blk.3.ffn_down_exps.weight", "qwen3_moe") is None


@pytest.mark.parametrize("name", ["model.layers.0.mlp.experts.x.up_proj.weight", "model.layers.0.mlp.experts.0.weight"])
def test_what_is_no_expert_has_no_name(name):
    assert gguf_name(name, "qwen3_moe") is None
