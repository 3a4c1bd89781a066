"""Every defect of the catalogue: it is really there, nothing else changed, and the source is untouched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.defects.catalogue import DEFECTS, apply_defect, defects_of
from pytest_aprqa.defects.errors import DefectError, DefectNotApplicableError
from pytest_aprqa.defects.expectations import EXPECTATIONS, expectation_of
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from tests.defects.artifact_differences import differences, digest_tree, snapshot

DOWN, OUT, UP = "mlp.down_proj.weight", "self_attn.o_proj.weight", "mlp.up_proj.weight"
EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
GGUF = {DOWN: "ffn_down.weight", OUT: "attn_output.weight", UP: "ffn_up.weight"}
LAYERS = range(3)


def hf(role: str, layers: range | tuple[int, ...] = LAYERS) -> set[str]:
    return {f"model.layers.{layer}.{role}" for layer in layers}


def blk(role: str, layers: range | tuple[int, ...] = LAYERS) -> set[str]:
    return {f"blk.{layer}.{role}" for layer in layers}


GATE, NORMS = "mlp.gate_proj.weight", "input_layernorm.weight"
SWAPPED = (DOWN, OUT, UP, GATE)
QK = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")
# Expected difference of each defect on the random Qwen2 (tied, three layers); None: the file cannot be opened any more.
EXPECTED: dict[str, dict[str, set[str]] | None] = {
    "config-layers-wrong": {"files": {"config.json"}},
    "config-hidden-size-wrong": {"files": {"config.json"}},
    "config-vocabulary-wrong": {"files": {"config.json"}},
    "config-heads-wrong": {"files": {"config.json"}},
    "config-kv-heads-wrong": {"files": {"config.json"}},
    "nan-in-tensor": {"tensors": hf(DOWN, (0,))},
    "infinity-in-tensor": {"tensors": hf(OUT, (0,))},
    "tensor-all-zero": {"tensors": hf(UP, (0,))},
    "weights-truncated": None,
    "header-bit-flipped": None,
    "header-length-hostile": None,
    "projection-transposed": {"tensors": hf(DOWN, (0,))},
    "head-transposed": {"tensors": {EMBEDDING}},
    "tensor-missing": {"removed": {NORM}},
    "layer-tensor-missing": {"removed": hf("self_attn.k_proj.weight", (0,))},
    "tensor-extra": {"added": hf("mlp.down_proj.lora_A.weight", (0,))},
    "tokenizer-missing": {"files": {"tokenizer.json"}},
    "config-missing": {"files": {"config.json"}},
    "merges-lost": {"files": {"tokenizer.json"}},
    "shard-missing": None,
    "architecture-unknown": {"files": {"config.json"}},
    "weights-are-lfs-pointer": None,
    "weights-are-error-page": None,
    "end-row-scaled": {"files": {"config.json"}, "added": {HEAD}},
    "every-token-ends": {"files": {"generation_config.json"}},
    "chat-template-raises": {"files": {"tokenizer_config.json"}},
    "chat-template-lost": {"files": {"tokenizer_config.json"}},
    "chat-template-endless": {"files": {"tokenizer_config.json"}},
    "decoder-panics": {"files": {"tokenizer.json"}},
    "mlp-scaled": {"tensors": hf(DOWN)},
    "mlp-rows-permuted": {"tensors": hf(DOWN)},
    "attention-rows-permuted": {"tensors": hf(OUT)},
    "embedding-shifted": {"tensors": {EMBEDDING}},
    "rotary-rows-interleaved": {"tensors": hf(QK[0]) | hf(QK[1])},
    "rope-theta-wrong": {"files": {"config.json"}},
    "norm-epsilon-wrong": {"files": {"config.json"}},
    "layers-swapped": {
        "tensors": {f"model.layers.{n}.{role}" for n in (0, 2) for role in (DOWN, OUT, UP, "mlp.gate_proj.weight")}
    },
    "tensor-renamed": {"removed": hf(DOWN, (0,)), "added": {"transformer.h.0.mlp.c_proj.weight"}},
    "tokenizer-shifted": {"files": {"tokenizer.json"}},
    "added-tokens-lost": {"files": {"tokenizer.json"}},
    "apr-header-bit-flipped": None,
    "apr-data-bit-flipped": None,
    "apr-footer-bit-flipped": None,
    "apr-truncated": None,
    "apr-column-major": None,
    "apr-layers-wrong": {"keys": {"num_layers"}},
    "apr-hidden-size-wrong": {"keys": {"hidden_size"}},
    "apr-nan-in-tensor": {"tensors": hf(DOWN, (0,))},
    "apr-tensor-all-zero": {"tensors": hf(UP, (0,))},
    "apr-projection-transposed": {"tensors": hf(DOWN, (0,))},
    "apr-tensor-missing": {"removed": {NORM}},
    "apr-tensor-extra": {"added": hf("mlp.spare.weight", (0,))},
    "apr-tokenizer-dropped": {"keys": {"tokenizer.*"}},
    "apr-merges-lost": {"keys": {"tokenizer.merges"}},
    "apr-architecture-wrong": {"keys": {"architecture", "hf_model_type"}},
    "apr-context-missing": {"keys": {"max_position_embeddings"}},
    "apr-end-row-scaled": {"keys": {"tied_embeddings"}, "tensors": {HEAD}},
    "apr-chat-template-raises": {"keys": {"chat_template", "tokenizer.chat_template"}},
    "apr-chat-template-lost": {"keys": {"chat_template", "tokenizer.chat_template"}},
    "apr-chat-template-endless": {"keys": {"chat_template", "tokenizer.chat_template"}},
    "apr-rope-type-interleaved": {"keys": {"rope_type"}},
    "apr-rope-theta-wrong": {"keys": {"rope_theta"}},
    "apr-norm-epsilon-wrong": {"keys": {"rms_norm_eps"}},
    "apr-attention-rows-permuted": {"tensors": hf(OUT)},
    "apr-rotary-rows-interleaved": {"tensors": hf(QK[0])},
    "apr-head-zero": {"tensors": {HEAD}},
    "apr-tensor-renamed": {"removed": hf(DOWN, (0,)), "added": {"blk.0.mlp_down.weight"}},
    "apr-type-fallback": {"tensors": hf(DOWN, (0,))},
    "apr-eight-bit-fallback": {"tensors": hf(DOWN, (0,))},
    "apr-tensor-scaled": {"tensors": hf(DOWN, (0,))},
    "apr-embedding-shifted": {"tensors": {EMBEDDING}},
    "apr-tokenizer-shifted": {"keys": {"tokenizer.vocabulary"}},
    "apr-end-token-wrong": {"keys": {"tokenizer.eos_token_id"}},
    "gguf-magic-bit-flipped": None,
    "gguf-truncated": None,
    "gguf-count-hostile": None,
    "gguf-layers-wrong": {"keys": {"qwen2.block_count"}},
    "gguf-hidden-size-wrong": {"keys": {"qwen2.embedding_length"}},
    "gguf-kv-heads-wrong": {"keys": {"qwen2.attention.head_count_kv"}},
    "gguf-nan-in-tensor": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-tensor-all-zero": {"tensors": blk(GGUF[UP], (0,))},
    "gguf-projection-transposed": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-tensor-missing": {"removed": {"output_norm.weight"}},
    "gguf-tensor-extra": {"added": {"blk.0.spare.weight"}},
    "gguf-tokens-lost": {"keys": {"tokenizer.ggml.tokens"}},
    "gguf-merges-lost": {"keys": {"tokenizer.ggml.merges"}},
    "gguf-architecture-unknown": {"keys": {"general.architecture"}},
    "gguf-end-row-scaled": {"added": {"output.weight"}},
    "gguf-chat-template-raises": {"keys": {"tokenizer.chat_template"}},
    "gguf-chat-template-lost": {"keys": {"tokenizer.chat_template"}},
    "gguf-chat-template-endless": {"keys": {"tokenizer.chat_template"}},
    "gguf-rotary-permutation-wrong": {"tensors": blk("attn_q.weight") | blk("attn_k.weight")},
    "gguf-rope-theta-wrong": {"keys": {"qwen2.rope.freq_base"}},
    "gguf-norm-epsilon-wrong": {"keys": {"qwen2.attention.layer_norm_rms_epsilon"}},
    "gguf-attention-rows-permuted": {"tensors": blk(GGUF[OUT])},
    "gguf-tensor-renamed": {"removed": blk(GGUF[DOWN], (0,)), "added": {"blk.0.mlp_down.weight"}},
    "gguf-type-fallback": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-eight-bit-fallback": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-tensor-scaled": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-embedding-shifted": {"tensors": {"token_embd.weight"}},
    "gguf-tokenizer-shifted": {"keys": {"tokenizer.ggml.tokens"}},
    "gguf-pre-tokenizer-wrong": {"keys": {"tokenizer.ggml.pre"}},
    "gguf-token-types-lost": {"keys": {"tokenizer.ggml.token_type"}},
    "gguf-bos-policy-lost": {"keys": {"tokenizer.ggml.add_bos_token"}},
    "gguf-tensor-misaligned": None,
    "apr-tensor-misaligned": None,
    "gguf-type-unknown": None,
    "apr-type-too-large": None,
    "apr-footer-lost": {},
    "index-counts-files": {"files": {"model.safetensors.index.json"}, "keys": {"total_size", "format"}},
    "embedding-scaled": {"tensors": {EMBEDDING}},
    "gguf-embedding-scaled": {"tensors": {"token_embd.weight"}},
    "activations-overflow": {"tensors": hf(DOWN, (0,)) | hf(UP, (0,)) | hf(GATE, (0,))},
    # Norms, layers, roles, biases, precision
    "norms-minus-one": {"tensors": hf(NORMS)},
    "apr-norms-plus-one": {"tensors": hf(NORMS)},
    "gguf-norms-plus-one": {"tensors": blk("attn_norm.weight")},
    "gguf-norms-scaled": {"tensors": blk("ffn_norm.weight", (0,))},
    "apr-layers-swapped": {"tensors": {name for role in SWAPPED for name in hf(role, (0, 2))}},
    "gguf-layers-swapped": {
        "tensors": {
            name for role in ("attn_output", "ffn_down", "ffn_up", "ffn_gate") for name in blk(f"{role}.weight", (0, 2))
        }
    },
    "gate-and-up-swapped": {"tensors": hf(UP, (0,)) | hf(GATE, (0,))},
    "apr-gate-and-up-swapped": {"tensors": hf(UP, (0,)) | hf(GATE, (0,))},
    "gguf-gate-and-up-swapped": {"tensors": blk("ffn_up.weight", (0,)) | blk("ffn_gate.weight", (0,))},
    "bias-lost": {"removed": hf("self_attn.q_proj.bias", (0,))},
    "apr-bias-lost": {"removed": hf("self_attn.q_proj.bias", (0,))},
    "gguf-bias-lost": {"removed": blk("attn_q.bias", (0,))},
    "gguf-bias-zero": {"tensors": blk("attn_q.bias", (0,))},
    "precision-lost": {"tensors": hf(DOWN)},
    "apr-precision-lost": {"tensors": hf(DOWN)},
    "gguf-precision-lost": {"tensors": blk(GGUF[DOWN])},
    "gguf-head-lost": {"removed": {"output.weight"}},
    "gguf-padding-flood": {"added": {"output.weight"}},
    # Declarations
    "rope-scaling-added": {"files": {"config.json"}},
    "gguf-rope-scaling-added": {"keys": {"qwen2.rope.scaling.type", "qwen2.rope.scaling.factor"}},
    "apr-kv-heads-wrong": {"keys": {"num_kv_heads"}},
    "apr-context-wrong": {"keys": {"max_position_embeddings"}},
    "gguf-context-wrong": {"keys": {"qwen2.context_length"}},
    "index-stale": None,
    "gguf-split-part-lost": None,
    "gguf-byte-order-foreign": None,
    "gguf-conversion-not-repeated": {"keys": {"general.date"}},
    # Tokenizers and templates
    "vocabulary-beyond-embedding": {"files": {"tokenizer.json"}},
    "generation-config-stale": {"files": {"generation_config.json"}},
    "tokenizer-of-another-model": {"files": {"tokenizer.json"}},
    "chat-template-of-another-model": {"files": {"tokenizer_config.json"}},
    "apr-tokenizer-of-another-model": {"keys": {"tokenizer.vocabulary"}},
    "apr-add-bos-wrong": {"keys": {"tokenizer.add_bos_token"}},
    "apr-chat-template-of-another-model": {"keys": {"chat_template", "tokenizer.chat_template"}},
    "gguf-add-bos-wrong": {"keys": {"tokenizer.ggml.add_bos_token"}},
    "gguf-end-token-wrong": {"keys": {"tokenizer.ggml.eos_token_id"}},
    "gguf-control-tokens-normal": {"keys": {"tokenizer.ggml.token_type"}},
    "gguf-tokenizer-of-another-model": {"keys": {"tokenizer.ggml.tokens"}},
    "gguf-merges-reordered": {"keys": {"tokenizer.ggml.merges"}},
    "gguf-vocabulary-cut": {"keys": {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"}},
    "gguf-chat-template-of-another-model": {"keys": {"tokenizer.chat_template"}},
    # Declarations that are no dimension
    "control-tokens-not-special": {"files": {"tokenizer.json"}},
    "begin-token-wrong": {"files": {"config.json"}},
    "generation-ends-lost": {"files": {"generation_config.json"}},
    "sampling-changed": {"files": {"generation_config.json"}},
    "card-of-another-model": {"files": {"README.md"}},
    "card-claims-another-type": {"files": {"README.md"}},
    "architectures-wrong": {"files": {"config.json"}},
    "dtype-wrong": {"files": {"config.json"}},
    "quantization-left-declared": {"files": {"config.json"}},
    "layer-types-wrong": {"files": {"config.json"}},
    "added-tokens-eat-spaces": {"files": {"tokenizer.json"}},
    "architectures-lost": {"files": {"config.json"}},
    "code-added": {"files": {"config.json"}},
    "answers-cut": {"files": {"generation_config.json"}},
    "gguf-turn-token-normal": {"keys": {"tokenizer.ggml.token_type"}},
    "gguf-control-tokens-user-defined": {"keys": {"tokenizer.ggml.token_type"}},
    "gguf-begin-token-wrong": {"keys": {"tokenizer.ggml.bos_token_id"}},
    "gguf-end-token-lost": {"keys": {"tokenizer.ggml.eos_token_id"}},
    "gguf-rotated-part-wrong": {"keys": {"qwen2.rope.dimension_count"}},
    "gguf-value-length-wrong": {"keys": {"qwen2.attention.value_length"}},
    "gguf-label-wrong": {"keys": {"general.file_type"}},
    "gguf-count-retyped": {"keys": {"qwen2.block_count"}},
    "gguf-epsilon-missing": {"keys": {"qwen2.attention.layer_norm_rms_epsilon"}},
    "gguf-vocabulary-kind-missing": {"keys": {"tokenizer.ggml.model"}},
    "gguf-rope-factor-without-type": {"keys": {"qwen2.rope.scaling.factor"}},
    "gguf-end-token-of-base-model": {"keys": {"tokenizer.ggml.eos_token_id"}},
    "apr-output-head-scaled": {"tensors": {HEAD}},
    "apr-label-wrong": {"keys": {"quantization"}},
    "apr-chat-templates-differ": {"keys": {"chat_template"}},
    "gguf-output-head-scaled": {"added": {"output.weight"}},
    "apr-begin-token-wrong": {"keys": {"tokenizer.bos_token_id"}},
    # Quantised files
    "gguf-q8-row-damaged": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-q8-scale-nan": {"tensors": blk(GGUF[UP], (0,))},
    "gguf-q8-scales-byte-swapped": {"tensors": blk("ffn_gate.weight", (0,))},
    "gguf-q8-rows-shifted": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-q8-head-scaled": {"tensors": blk("attn_q.weight", (0,))},
    "gguf-q8-gate-and-up-swapped": {"tensors": blk("ffn_up.weight", (0,)) | blk("ffn_gate.weight", (0,))},
    "gguf-q8-wider-fallback": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-q8-lower-fallback": {"tensors": blk(GGUF[DOWN])},
    **{
        f"gguf-{label}-{name}": {"tensors": {name_ for role in roles for name_ in blk(f"{role}.weight", (0,))}}
        for label in ("q4k", "q6k")
        for name, roles in {
            "row-damaged": ("ffn_down",),
            "scale-nan": ("ffn_up",),
            "scales-byte-swapped": ("ffn_gate",),
            "rows-shifted": ("ffn_down",),
            "head-scaled": ("attn_q",),
            "gate-and-up-swapped": ("ffn_gate", "ffn_up"),
        }.items()
    },
    "gguf-q4k-wider-fallback": {"tensors": blk(GGUF[DOWN], (0,))},
    "gguf-q6k-lower-fallback": {"tensors": blk(GGUF[DOWN])},
    "apr-q4k-row-damaged": {"tensors": hf(DOWN, (0,))},
    "apr-q4k-scale-nan": {"tensors": hf(UP, (0,))},
    "apr-q4k-scales-byte-swapped": {"tensors": hf(GATE, (0,))},
    "apr-q4k-rows-shifted": {"tensors": hf(DOWN, (0,))},
    "apr-q4k-head-scaled": {"tensors": hf("self_attn.q_proj.weight", (0,))},
    "apr-q4k-gate-and-up-swapped": {"tensors": hf(UP, (0,)) | hf(GATE, (0,))},
    "apr-q4k-wider-fallback": {"tensors": hf(DOWN, (0,))},
}


@pytest.fixture(scope="module")
def sources(random_qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return {
        "safetensors": random_qwen2_folder,
        "apr": derive(random_qwen2_folder, "apr", cache=cache).path,
        "gguf": derive(random_qwen2_folder, "gguf", cache=cache).path,
        "q8_0": derive(random_qwen2_folder, "gguf", cache=cache, dtype="q8_0").path,
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def source_of(name: str, sources: dict[str, Path], work: Path) -> Path:
    """The clean artifact that a defect is seeded into; skipped where no such file can be made of this small model."""
    defect = DEFECTS[name]
    folder = defect.prepare(sources["safetensors"], work / f"{name}-clean")
    if defect.format == "safetensors":
        return folder
    if folder == sources["safetensors"] and defect.base is None:
        return sources[defect.format]
    try:
        return derive(folder, defect.format, cache=work / "cache", dtype=defect.base).path
    except LifecycleError as error:
        pytest.skip(str(error))


def test_every_defect_has_an_expectation() -> None:
    assert set(EXPECTED) == set(DEFECTS)


def test_every_defect_has_a_gate_and_words_that_must_name_it() -> None:
    for name in DEFECTS:
        expected = expectation_of(name)
        assert expected.gates
        assert not expected.matches("the model differs"), name
    assert set(EXPECTATIONS) <= set(DEFECTS)


def test_origins_name_an_issue_or_what_was_measured() -> None:
    cited = [defect for defect in DEFECTS.values() if re.search(r"[\w.-]+/[\w.-]+#\d+", defect.origin)]
    assert len(cited) >= 80, len(cited)


@pytest.mark.parametrize("name", EXPECTED)
def test_defect_changes_what_it_says_and_nothing_else(
    name: str, sources: dict[str, Path], work: Path, tmp_path: Path
) -> None:
    source = source_of(name, sources, work)
    before = digest_tree(source)
    try:
        target = apply_defect(name, source, tmp_path / source.name)
    except DefectNotApplicableError as error:
        pytest.skip(str(error))
    assert digest_tree(source) == before, "the source was touched"
    assert digest_tree(target) != before
    expected = EXPECTED[name]
    if expected is None:
        with pytest.raises(ValueError, match=str(target)):
            snapshot(target)
        return
    found = differences(source, target)
    if name == "apr-tokenizer-dropped":
        assert found.keys() == {"keys"}
        assert all(key.startswith("tokenizer.") for key in found["keys"])
        assert "tokenizer.vocabulary" in found["keys"]
    else:
        assert found == expected


@pytest.mark.parametrize("format_name", ["safetensors", "apr", "gguf"])
def test_source_of_another_kind_is_refused(format_name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    defect = defects_of(format_name)[0]
    wrong = sources["apr" if format_name == "safetensors" else "safetensors"]
    with pytest.raises(DefectError, match="needs a"):
        defect.apply(wrong, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_existing_target_is_refused_and_kept(sources: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "model.apr"
    target.write_text("mine")
    with pytest.raises(DefectError, match="exists already"):
        apply_defect("apr-truncated", sources["apr"], target)
    assert target.read_text() == "mine"


def test_unknown_defect_names_close_ones(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DefectError, match=r"did you mean.*nan-in-tensor"):
        apply_defect("nan-in-tensr", sources["safetensors"], tmp_path / "t")


def test_defect_that_cannot_happen_to_a_model_says_so_and_leaves_nothing(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DefectNotApplicableError, match="not quantised in blocks but BF16"):
        apply_defect("gguf-q8-scales-byte-swapped", sources["gguf"], tmp_path / "t.gguf")
    assert list(tmp_path.iterdir()) == []


def test_bos_policy_cannot_be_lost_where_there_is_none(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DefectNotApplicableError, match="adds no BOS"):
        apply_defect("gguf-bos-policy-lost", sources["gguf"], tmp_path / "t.gguf")


def test_links_of_a_hub_cache_are_never_written_through(random_qwen2_folder: Path, tmp_path: Path) -> None:
    snapshot_folder = tmp_path / "snapshot"
    snapshot_folder.mkdir()
    for path in random_qwen2_folder.iterdir():
        (snapshot_folder / path.name).symlink_to(path)
    before = digest_tree(random_qwen2_folder)
    for name in ("mlp-scaled", "config-layers-wrong", "weights-truncated"):
        apply_defect(name, snapshot_folder, tmp_path / name)
    assert digest_tree(random_qwen2_folder) == before


def test_every_gateway_has_several_defects_in_every_format_where_it_makes_sense() -> None:
    for gateway in ("G0", "G1", "G2", "G4"):
        for format_name in ("safetensors", "apr", "gguf"):
            count = sum(defect.gateway == gateway for defect in defects_of(format_name))
            assert count >= 2, (gateway, format_name)
    assert sum(defect.gateway == "G3" for defect in DEFECTS.values()) >= 3
    for invariant in ("I-1", "I-2", "I-3", "I-4", "I-5"):
        assert sum(defect.gateway == invariant for defect in DEFECTS.values()) >= 2, invariant


def test_every_defect_is_described() -> None:
    for defect in DEFECTS.values():
        assert defect.title
        assert defect.origin
        assert defect.name == defect.name.lower()


def test_values_are_what_the_titles_say(sources: dict[str, Path], tmp_path: Path) -> None:
    def values(name: str, tensor: str) -> np.ndarray:
        from pytest_aprqa.formats.opening import open_tensor_file

        with open_tensor_file(apply_defect(name, sources["safetensors"], tmp_path / name)) as file:
            return file.read(tensor)

    from pytest_aprqa.formats.opening import open_tensor_file

    with open_tensor_file(sources["safetensors"]) as file:
        clean = {name: file.read(name) for name in file.entries}
    down, out = "model.layers.0." + DOWN, "model.layers.0." + OUT
    assert np.isnan(values("nan-in-tensor", down)).sum() == 1
    assert np.isinf(values("infinity-in-tensor", out)).sum() == 1
    assert not values("tensor-all-zero", "model.layers.0." + UP).any()
    np.testing.assert_array_equal(values("projection-transposed", down), clean[down].T)
    np.testing.assert_allclose(values("mlp-scaled", down), clean[down] * 30, rtol=0.01)
    np.testing.assert_array_equal(values("attention-rows-permuted", out), np.roll(clean[out], 7, axis=0))
    np.testing.assert_array_equal(values("embedding-shifted", EMBEDDING), np.roll(clean[EMBEDDING], 1, axis=0))
    query = "model.layers.1.self_attn.q_proj.weight"
    interleaved = clean[query].reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64)
    np.testing.assert_array_equal(values("rotary-rows-interleaved", query), interleaved)
    ends = values("end-row-scaled", HEAD)
    changed = np.flatnonzero((ends != clean[EMBEDDING]).any(axis=1))
    assert changed.tolist() == [349, 351]
    np.testing.assert_allclose(ends[349], clean[EMBEDDING][349] * 1000, rtol=0.01)
    np.testing.assert_array_equal(ends[351], -ends[349])
    last = "model.layers.2." + DOWN
    np.testing.assert_array_equal(values("layers-swapped", last), clean[down])


def test_llama_head_and_rotary_defects(random_llama_folder: Path, tmp_path: Path) -> None:
    found = differences(random_llama_folder, apply_defect("head-transposed", random_llama_folder, tmp_path / "a"))
    assert found == {"tensors": {HEAD}}
    found = differences(random_llama_folder, apply_defect("end-row-scaled", random_llama_folder, tmp_path / "b"))
    assert found == {"tensors": {HEAD}}
    gguf = derive(random_llama_folder, "gguf", cache=tmp_path / "c").path
    broken = apply_defect("gguf-rotary-permutation-wrong", gguf, tmp_path / "broken.gguf")
    assert set(differences(gguf, broken)) == {"tensors"}
