"""Every family as GGUF and APR: every value comes back, the declaration is the source's, refusals say why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.to_safetensors import write_safetensors_from
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.same_model import compare_models
from tests.lifecycle.reshaped_families import FAMILIES, family_folder

CASES: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    ("deepseek_v2", {"q_lora_rank": None}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("llama", {"mlp_bias": True, "attention_bias": True}),
]


@pytest.mark.parametrize("stored", ["F32", "BF16"])
@pytest.mark.parametrize(("family", "changed"), CASES)
def test_every_tensor_comes_back_under_its_name(
    family: str, changed: dict[str, Any], stored: str, tmp_path: Path
) -> None:
    folder = family_folder(tmp_path / "m", family, stored, **changed)
    with open_artifact(folder, "safetensors") as source, open_artifact(_gguf(folder)) as made:
        assert sorted(made.tensors.names()) == sorted(source.tensors.names())
        for name in source.tensors.names():
            # One is added to some norms in the file: that rounds.
            np.testing.assert_allclose(made.tensors.read(name), source.tensors.read(name), rtol=0, atol=2e-7)
        result = compare_models(source, made)
        assert [str(one) for one in result.differences] == []


@pytest.mark.parametrize(("family", "changed"), CASES)
def test_apr_holds_every_tensor_and_every_declaration(family: str, changed: dict[str, Any], tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", family, **changed)
    path = derive(folder, "apr", cache=tmp_path / "cache").path
    with open_artifact(folder, "safetensors") as source, open_artifact(path, "apr") as made:
        for name in source.tensors.names():
            assert np.array_equal(made.tensors.read(name), source.tensors.read(name)), name
        assert [str(one) for one in compare_models(source, made).differences] == []
        kept = made.file.metadata
    for field, value in DECLARED.get(family, {}).items():
        assert kept[field] == value


DECLARED: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 2.0, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    "gemma2": {"attn_logit_softcapping": 50.0, "sliding_window": 16, "query_pre_attn_scalar": 32},
    "stablelm": {"partial_rotary_factor": 0.25},
    "gpt_neox": {"rotary_pct": 0.25, "num_heads": 4},
    "mixtral": {"num_experts_per_tok": 2, "num_experts": 4},
    "olmo": {"clip_qkv": 2.0},
}


@pytest.mark.parametrize("family", ["granite", "mixtral", "gpt2"])
def test_a_folder_is_not_made_of_a_file_that_says_too_little(family: str, tmp_path: Path) -> None:
    artifact = _gguf(family_folder(tmp_path / "m", family))
    with (
        open_artifact(artifact.path) as opened,
        pytest.raises(LifecycleError, match=r"config\.json of this family cannot be made from the file alone"),
    ):
        write_safetensors_from(opened, tmp_path / "back")


def _gguf(folder: Path, dtype: str = "native") -> Any:
    return derive(folder, "gguf", cache=folder.parent / "cache", dtype=dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_quantised_files_stay_close_and_the_router_keeps_its_type(family: str, tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", family)
    path = _gguf(folder, "q8_0").path
    with open_artifact(folder, "safetensors") as source, open_artifact(path, "gguf") as made:
        for name in source.tensors.names():
            if len(source.tensors.entry(name).shape) == 1:
                continue
            x, y = source.tensors.read(name), made.tensors.read(name)
            assert float(np.square(y - x).sum() / np.square(x).sum()) < 1e-3, name
    with open_tensor_file(path) as file:
        kinds = {name: entry.dtype for name, entry in file.entries.items()}
    assert {kind for name, kind in kinds.items() if "ffn_gate_inp" in name} <= {"F32"}
    assert "Q8_0" in kinds.values()


@pytest.mark.parametrize(
    ("family", "changed", "problem"),
    [
        ("internlm2", {"tie_word_embeddings": True}, "reads a head of its own"),
        ("internlm2", {"bias": True}, "no place for this tensor"),
        ("internlm2", {"head_dim": 32}, "takes hidden size / heads"),
        ("deepseek_v2", {"attention_bias": True}, "no place for this tensor"),
        ("deepseek_v2", {"n_shared_experts": None}, "reads shared experts"),
        ("deepseek_v2", {"topk_method": "group_limited_greedy", "n_group": 2}, "experts of all groups"),
        ("deepseek_v2", {"norm_topk_prob": True}, "does not normalise"),
        ("deepseek_v2", {"num_experts_per_tok": 5}, "is no number of experts"),
        ("deepseek_v2", {"num_experts_per_tok": 0}, "is no number of experts"),
        ("mixtral", {"num_experts_per_tok": 5}, "is no number of experts"),
        ("mixtral", {"sliding_window": 127}, "windowed attention"),
        ("mistral", {"sliding_window": 127}, "windowed attention"),
        ("phi3", {"sliding_window": 127}, "windowed attention"),
        ("starcoder2", {"sliding_window": 127}, "windowed attention"),
        ("starcoder2", {"use_bias": False, "attention_bias": False}, "attention_bias: cannot be declared"),
        ("gpt_neox", {"attention_bias": False}, "reads biases"),
        ("gpt_neox", {"tie_word_embeddings": True}, "reads a head of its own"),
        ("qwen3", {"attention_bias": True}, "no place for this tensor"),
        ("qwen2", {"hidden_act": "gelu"}, "computes another activation"),
        ("llama", {"hidden_act": "gelu"}, "computes another activation"),
        ("gemma", {"hidden_act": "relu", "hidden_activation": None}, "computes another activation"),
        ("gemma", {"tie_word_embeddings": False}, "reads no head of its own"),
        ("gemma2", {"query_pre_attn_scalar": 16}, "by the size of a head"),
        ("gemma2", {"final_logit_softcapping": None}, "limits the logits"),
        ("gemma3_text", {"query_pre_attn_scalar": 16}, "by the size of a head"),
        ("qwen3_moe", {"norm_topk_prob": False}, "normalises the shares"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "experts in every layer"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "experts in every layer"),
        ("falcon", {"alibi": True}, "rotates for this family"),
        ("falcon", {"parallel_attn": False}, "from one input"),
        ("falcon", {"bias": True}, "no place for this tensor"),
        ("gpt_bigcode", {"multi_query": False}, "one key-value head"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "does not scale by layer"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}, "every fourth layer"),
        ("nemotron", {"head_dim": 32}, "takes hidden size / heads"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(
    family: str, changed: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    changed = {"attention_bias": True} if family == "internlm2" and "bias" in changed else changed
    folder = family_folder(tmp_path / "m", family, **changed)
    with pytest.raises(LifecycleError, match=problem):
        _gguf(folder)


@pytest.mark.parametrize("used", [1, 4])
def test_every_number_of_experts_up_to_all_is_declared(used: int, tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", "deepseek_v2", num_experts_per_tok=used)
    with open_tensor_file(_gguf(folder).path) as file:
        assert file.metadata["deepseek2.expert_used_count"] == used


def test_a_family_that_llama_cpp_does_not_know_is_refused_with_the_reason(tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", "internlm2")
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text.replace('"internlm2"', '"phi3small"'), encoding="utf-8")
    with pytest.raises(LifecycleError, match=r"cannot be written as GGUF: llama\.cpp has no architecture for it"):
        _gguf(folder)
