"""A derived file is the source in another container: same tensors, same configuration, same prompt ids."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle import derive as derive_module
from pytest_aprqa.lifecycle.derive import CONVERTER, derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.models.artifact import open_artifact
from tests.model_fixtures import PROMPTS, write_random_llama, write_random_qwen2

FAMILIES = ["qwen2", "llama"]
FORMATS = ["apr", "gguf"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"random_{request.param}_folder")


def copy(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def edit(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **values}))


@pytest.mark.parametrize("format_name", FORMATS)
def test_canonical_tensors_equal_the_source_bit_for_bit(folder: Path, format_name: str, cache: Path) -> None:
    artifact = derive(folder, format_name, cache=cache)
    with open_artifact(folder, "safetensors") as source, open_artifact(artifact, format_name) as derived:
        names = set(source.tensors.names())
        extra = {"lm_head.weight"} if format_name == "apr" and source.config.tied_embeddings else set()
        assert set(derived.tensors.names()) == names | extra
        for name in names:
            np.testing.assert_array_equal(derived.tensors.read(name), source.tensors.read(name), err_msg=name)
        for name in extra:
            expected = source.tensors.read("model.embed_tokens.weight")
            np.testing.assert_array_equal(derived.tensors.read(name), expected)


@pytest.mark.parametrize("format_name", FORMATS)
def test_configuration_equals_the_source(folder: Path, format_name: str, cache: Path) -> None:
    artifact = derive(folder, format_name, cache=cache)
    with open_artifact(folder, "safetensors") as source, open_artifact(artifact, format_name) as derived:
        for field in source.config.__dataclass_fields__:
            found, expected = getattr(derived.config, field), getattr(source.config, field)
            if isinstance(expected, float):
                assert found == pytest.approx(expected, rel=1e-6), field
            else:
                assert found == expected, field


@pytest.mark.parametrize("format_name", FORMATS)
def test_prompt_ids_end_ids_and_template_equal_the_source(folder: Path, format_name: str, cache: Path) -> None:
    artifact = derive(folder, format_name, cache=cache)
    with open_artifact(folder, "safetensors") as source, open_artifact(artifact, format_name) as derived:
        ours, theirs = derived.tokenizer, source.tokenizer
        for prompt in [*PROMPTS, "<|im_start|>user\nHi<|im_end|>\n", "<|eot_id|>x"]:
            assert ours.encode(prompt) == theirs.encode(prompt), prompt
            assert ours.decode(ours.encode(prompt)) == theirs.decode(theirs.encode(prompt))
        assert ours.end_ids == theirs.end_ids
        assert (ours.bos_id, ours.eos_id, ours.add_bos) == (theirs.bos_id, theirs.eos_id, theirs.add_bos)
        assert ours.pre_tokenizer == theirs.pre_tokenizer
        assert ours.chat_template == theirs.chat_template
        assert ours.vocab_size == theirs.vocab_size


@pytest.mark.parametrize("format_name", FORMATS)
def test_matrices_keep_their_type_and_vectors_are_f32(folder: Path, format_name: str, cache: Path) -> None:
    artifact = derive(folder, format_name, cache=cache)
    with open_tensor_file(artifact.path) as file:
        for entry in file.entries.values():
            assert entry.dtype == ("F32" if len(entry.shape) == 1 else "BF16"), entry


@pytest.mark.parametrize(
    ("format_name", "dtype", "kind"),
    [
        ("apr", "f32", "F32"),
        ("apr", "f16", "F16"),
        ("apr", "bf16", "BF16"),
        ("gguf", "f32", "F32"),
        ("gguf", "f16", "F16"),
        ("gguf", "q8_0", "Q8_0"),
        ("gguf", "q4_0", "Q4_0"),
        ("gguf", "q5_1", "Q5_1"),
    ],
)
def test_requested_type_is_written(
    format_name: str, dtype: str, kind: str, random_llama_folder: Path, cache: Path
) -> None:
    artifact = derive(random_llama_folder, format_name, cache=cache, dtype=dtype)
    with open_artifact(random_llama_folder, "safetensors") as source, open_artifact(artifact, format_name) as derived:
        kinds = {entry.dtype for entry in derived.file.entries.values() if len(entry.shape) > 1}
        assert kinds == {kind}
        name = "model.layers.1.self_attn.q_proj.weight"
        limit = {"q8_0": 0.02, "q4_0": 0.1, "q5_1": 0.05}.get(dtype, 0.001)
        np.testing.assert_allclose(derived.tensors.read(name), source.tensors.read(name), atol=limit)
        if format_name == "gguf":
            codes = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q5_1": 9}
            assert "aprqa.type_fallbacks" not in derived.file.metadata
            assert derived.file.metadata["general.file_type"] == codes[kind]


def test_q8_0_keeps_rows_that_do_not_fill_blocks_in_f16(tmp_path: Path) -> None:
    folder = write_random_llama(tmp_path / "m", changes={"intermediate_size": 176})
    artifact = derive(folder, "gguf", cache=tmp_path / "c", dtype="q8_0")
    with open_tensor_file(artifact.path) as file:
        assert file.entries["blk.0.ffn_down.weight"].dtype == "F16"
        assert file.entries["blk.0.ffn_up.weight"].dtype == "Q8_0"
        named = file.metadata["aprqa.type_fallbacks"]
    reason = "F16 instead of Q8_0: rows of 176 are not whole blocks"
    assert named == [f"blk.{layer}.ffn_down.weight: {reason}" for layer in range(2)]


@pytest.mark.parametrize(("dtype", "code"), [("q4_k", 14), ("q5_k", 16), ("q6_k", 18)])
def test_k_types_are_stored_where_rows_allow_it(dtype: str, code: int, tmp_path: Path) -> None:
    folder = write_random_llama(tmp_path / "m", changes={"intermediate_size": 512, "hidden_size": 256, "head_dim": 16})
    artifact = derive(folder, "gguf", cache=tmp_path / "c", dtype=dtype)
    with open_artifact(folder, "safetensors") as source, open_artifact(artifact, "gguf") as derived:
        stored = {entry.name: entry.dtype for entry in derived.file.entries.values() if len(entry.shape) > 1}
        fallbacks = {line.split(":")[0] for line in derived.file.metadata.get("aprqa.type_fallbacks", [])}
        assert {name for name, kind in stored.items() if kind != dtype.upper()} == fallbacks
        assert derived.file.metadata["general.file_type"] == code
        for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"):
            expected, found = source.tensors.read(name), derived.tensors.read(name)
            assert ((found - expected) ** 2).sum() < 0.006 * (expected**2).sum()


@pytest.mark.parametrize(("format_name", "dtype"), [("apr", "q8_0"), ("apr", "q5_k"), ("gguf", "q4"), ("gguf", "")])
def test_type_that_the_format_cannot_hold_is_refused(
    format_name: str, dtype: str, random_qwen2_folder: Path, tmp_path: Path
) -> None:
    if dtype == "":
        derive(random_qwen2_folder, format_name, cache=tmp_path, dtype=dtype)
        return
    with pytest.raises(LifecycleError, match=r"dtype: \w+ cannot be written so \(found q"):
        derive(random_qwen2_folder, format_name, cache=tmp_path, dtype=dtype)


def test_unknown_format_is_refused(random_qwen2_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match=r"found onnx, limit apr \| gguf"):
        derive(random_qwen2_folder, "onnx", cache=tmp_path)


def test_artifact_says_where_it_comes_from(random_qwen2_folder: Path, cache: Path) -> None:
    artifact = derive(random_qwen2_folder, "apr", cache=cache)
    assert artifact.origin == "derived"
    assert artifact.converter == CONVERTER
    assert artifact.format == "apr"
    with open_tensor_file(random_qwen2_folder) as file:
        from pytest_aprqa.formats.tensor_file import sha256_of

        assert artifact.source_sha256 == sha256_of(file.files)
        assert artifact.sha256 == sha256_of([artifact.path])


def test_equal_content_in_another_folder_is_one_entry(random_qwen2_folder: Path, tmp_path: Path) -> None:
    first = derive(random_qwen2_folder, "apr", cache=tmp_path / "c")
    moved = copy(random_qwen2_folder, tmp_path / "elsewhere")
    (moved / "README.md").write_text("no part of the model")
    assert derive(moved, "apr", cache=tmp_path / "c") == first


def test_same_source_gives_the_same_bytes_in_a_fresh_cache(folder: Path, cache: Path, tmp_path: Path) -> None:
    for format_name in FORMATS:
        first = derive(folder, format_name, cache=cache)
        assert derive(folder, format_name, cache=tmp_path / "fresh").sha256 == first.sha256


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_changed_declaration_is_another_entry(name: str, random_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = copy(random_qwen2_folder, tmp_path / "m")
    first = derive(folder, "apr", cache=tmp_path / "c")
    path = folder / name
    path.write_text(path.read_text() + " \n")
    assert derive(folder, "apr", cache=tmp_path / "c").path != first.path


def test_progress_counts_every_tensor_once(random_llama_folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    artifact = derive(random_llama_folder, "gguf", cache=tmp_path, progress=lambda *event: seen.append(event))
    with open_tensor_file(artifact.path) as file:
        assert sorted(name for name, _, _ in seen) == sorted(file.entries)
    done = [count for _, count, _ in seen]
    assert done == sorted(done)
    assert done[0] == 0
    assert all(count < total for _, count, total in seen)
    seen.clear()
    derive(random_llama_folder, "gguf", cache=tmp_path, progress=lambda *event: seen.append(event))
    assert seen == []


def _derive_in_child(arguments: tuple[str, str, str]) -> tuple[str, int]:
    folder, cache, mark = arguments
    written = []
    original = dict(derive_module._WRITERS)

    def counted(*args: Any, **kwargs: Any) -> None:
        written.append(1)
        original["apr"](*args, **kwargs)

    derive_module._WRITERS["apr"] = counted
    artifact = derive(Path(folder), "apr", cache=Path(cache))
    return artifact.sha256 + mark, len(written)


def test_several_processes_convert_once(random_llama_folder: Path, tmp_path: Path) -> None:
    jobs = [(str(random_llama_folder), str(tmp_path), "")] * 4
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_derive_in_child, jobs))
    assert len({digest for digest, _ in results}) == 1
    assert sum(count for _, count in results) == 1


def test_sharded_source_gives_the_same_tensors(random_qwen2_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy(random_qwen2_folder, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = derive(random_qwen2_folder, "apr", cache=tmp_path / "c")
    sharded = derive(folder, "apr", cache=tmp_path / "c")
    with open_tensor_file(whole.path) as one, open_tensor_file(sharded.path) as other:
        assert list(one.entries) == list(other.entries)
        for name in one.entries:
            assert one.raw(name).tobytes() == other.raw(name).tobytes()


def test_default_rotary_parameters_are_accepted(random_llama_folder: Path, tmp_path: Path) -> None:
    folder = copy(random_llama_folder, tmp_path / "m")
    edit(folder / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    assert derive(folder, "gguf", cache=tmp_path / "c").path.is_file()


@pytest.mark.parametrize(("window", "refused"), [(511, True), (512, False)])
def test_sliding_window_below_the_context_is_refused(
    window: int, refused: bool, random_qwen2_folder: Path, tmp_path: Path
) -> None:
    folder = copy(random_qwen2_folder, tmp_path / "m")
    edit(folder / "config.json", use_sliding_window=True, sliding_window=window)
    if refused:
        with pytest.raises(LifecycleError, match="windowed attention"):
            derive(folder, "apr", cache=tmp_path / "c")
    else:
        derive(folder, "apr", cache=tmp_path / "c")


def test_other_tokenizer_models_are_refused(random_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = copy(random_qwen2_folder, tmp_path / "m")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["byte_fallback"] = True
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(LifecycleError, match=r"tokenizer\.json: model\.byte_fallback: a file of this format cannot"):
        derive(folder, "apr", cache=tmp_path / "c")
    with pytest.raises(LifecycleError, match=r"tokenizer\.json: model\.vocab: not every byte has a token"):
        derive(folder, "gguf", cache=tmp_path / "c")


@pytest.mark.parametrize(("rows", "refused"), [(0, False), (8, False), (-1, True)])
def test_vocabulary_is_padded_to_the_embedding_and_never_cut(rows: int, refused: bool, tmp_path: Path) -> None:
    folder = write_random_qwen2(tmp_path / "m", extra_rows=rows)
    if refused:
        with pytest.raises(ValueError, match=r"more tokens|vocab"):
            derive(folder, "gguf", cache=tmp_path / "c")
        return
    artifact = derive(folder, "gguf", cache=tmp_path / "c")
    with open_tensor_file(artifact.path) as file:
        tokens, types = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
        assert len(tokens) == len(types) == file.entries["token_embd.weight"].shape[0] == 352 + rows
        assert all(kind == 5 for kind in types[352:])


def test_tensor_without_a_gguf_name_is_refused_by_name(random_qwen2_folder: Path, tmp_path: Path) -> None:
    from pytest_aprqa.defects.catalogue import apply_defect

    folder = apply_defect("tensor-extra", random_qwen2_folder, tmp_path / "m")
    with pytest.raises(LifecycleError, match="lora_A"):
        derive(folder, "gguf", cache=tmp_path / "c")


def test_split_pattern_without_a_name_is_refused(random_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = copy(random_qwen2_folder, tmp_path / "m")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W+"
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(LifecycleError, match="pre_tokenizer: its split pattern has no name"):
        derive(folder, "apr", cache=tmp_path / "c")


def test_padding_saved_with_the_tokenizer_is_no_part_of_a_prompt(random_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = copy(random_qwen2_folder, tmp_path / "m")
    padding = {"strategy": {"Fixed": 10**13}, "direction": "Left", "pad_to_multiple_of": None}
    edit(folder / "tokenizer.json", padding={**padding, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"})
    artifact = derive(folder, "apr", cache=tmp_path / "c")
    with open_artifact(folder, "safetensors") as source, open_artifact(artifact, "apr") as derived:
        assert source.tokenizer.encode(PROMPTS[0]) == derived.tokenizer.encode(PROMPTS[0])
