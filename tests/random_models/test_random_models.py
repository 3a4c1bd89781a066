"""Random models: the same for the same seed, of every kind in a few dozen seeds, sound for our readers, converted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.families import expected_tensors, integrity_problems, layout_problems
from pytest_aprqa.models.pre_tokenizers import name_of
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.random_models import random_model_folder, random_shape
from pytest_aprqa.random_models.shape import DTYPES, FAMILIES, HEADS, PRE_TOKENIZERS
from pytest_aprqa.random_models.tokenizer import byte_letters

TEXTS = ("Hello, 123 äh 你好\n", "  two spaces\t", "the hot tin", "<|endoftext|>x")


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    one, two, other = (random_model_folder(tmp_path / n, seed) for n, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}
    assert (one / "config.json").read_bytes() != (other / "config.json").read_bytes()


def test_a_few_dozen_seeds_show_every_kind() -> None:
    shapes = [random_shape(seed) for seed in range(100)]
    assert {s.family for s in shapes} == set(FAMILIES)
    assert {s.dtype for s in shapes} == set(DTYPES)
    assert {s.pre_tokenizer for s in shapes} == set(PRE_TOKENIZERS)
    assert {(s.heads, s.kv_heads) for s in shapes} == set(HEADS)
    for flag in ("tied", "plain_vectors", "specials_first", "add_bos", "template_file"):
        assert {getattr(s, flag) for s in shapes} == {True, False}
    assert {s.shards for s in shapes} == {1, 2, 3}
    assert any(s.hidden != s.heads * s.head_dim for s in shapes)
    assert any(s.hidden % 2 for s in shapes)


@pytest.mark.parametrize("seed", range(12))
def test_readers_find_a_sound_model(seed: int, tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", seed)
    config = config_from_hf(folder)
    with open_tensor_file(folder) as file:
        shapes = {name: entry.shape for name, entry in file.entries.items()}
        assert shapes == expected_tensors(config)
    assert not layout_problems(config, shapes)
    assert not integrity_problems(config, shapes)
    tokenizer = tokenizer_from_hf(folder)
    assert tokenizer.pre_tokenizer == random_shape(seed).pre_tokenizer
    assert tokenizer.add_bos == random_shape(seed).add_bos
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text, add_special=False), skip_special=False) == text


@pytest.mark.parametrize("format_name", ["apr", "gguf"])
def test_it_can_be_converted(format_name: str, tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", 3, hidden=33, extra_rows=7)
    made = derive(folder, format_name, cache=tmp_path / "cache")
    with open_tensor_file(made.path) as file:
        assert file.format == format_name


def test_fields_are_set_and_the_rest_stays(tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", 8, family="qwen3", tied=False, shards=3)
    document = json.loads((folder / "config.json").read_text())
    assert (document["model_type"], document["tie_word_embeddings"]) == ("qwen3", False)
    assert len(list(folder.glob("*.safetensors"))) == 3
    assert document["num_attention_heads"] == random_shape(8).heads


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "bert"),
        ("dtype", "Q4_0"),
        ("template", "x"),
        ("pre_tokenizer", "x"),
        ("layers", 0),
        ("head_dim", 7),
        ("extra_rows", -1),
        ("hidden", 0),
    ],
)
def test_what_is_no_model_is_refused(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: found .*, limit "):
        random_model_folder(tmp_path / "m", 1, **{field: value})


def test_heads_must_be_a_multiple(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="heads: found 5"):
        random_model_folder(tmp_path / "m", 1, heads=5, kv_heads=2)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_pre_tokenizers_keep_their_name(name: str, tmp_path: Path) -> None:
    folder = random_model_folder(tmp_path / "m", 1, pre_tokenizer=name)
    assert name_of(json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"]) == name


def test_byte_letters_are_those_of_the_library() -> None:
    from tokenizers import pre_tokenizers

    assert sorted(byte_letters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
