"""Tokenizers of Hugging Face folders: which file decides what, and one clear error for each damage."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.models import tokenizer_folder
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf


@pytest.fixture
def folder(random_qwen2_folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(random_qwen2_folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    return target


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"tokenizer\.json: file: the tokenizer is missing; fetch tokenizer\.json"):
        tokenizer_from_hf(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000, b'"text"'])
def test_a_damaged_file_is_one_error_that_names_it(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: file: ") as caught:
        tokenizer_from_hf(folder)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_up_to_the_limit(folder, monkeypatch):
    sizes = [path.stat().st_size for path in folder.iterdir()]
    monkeypatch.setattr(tokenizer_folder, "LARGEST_JSON", max(sizes))
    tokenizer_from_hf(folder)
    monkeypatch.setattr(tokenizer_folder, "LARGEST_JSON", max(sizes) - 1)
    with pytest.raises(ModelError, match=f"is too large .found {max(sizes)}, limit {max(sizes) - 1}"):
        tokenizer_from_hf(folder)


def test_lost_merges_are_named(folder):
    edit(folder / "tokenizer.json", lambda d: d["model"].update(merges=[]))
    with pytest.raises(ModelError, match=r"model\.merges: the tokenizer has no merges; fetch"):
        tokenizer_from_hf(folder)


@pytest.mark.parametrize("merges", ["a b", 3, [1], ["ab"], ["a b c"], [["a"]], [["a", 2]], [None]])
def test_malformed_merges_are_named(folder, merges):
    edit(folder / "tokenizer.json", lambda d: d["model"].update(merges=merges))
    with pytest.raises(ModelError, match=r"model\.merges"):
        tokenizer_from_hf(folder)


NO_VOCABULARIES = [None, {}, [], 7, {"a": -1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": 2**70}, [["a"], 3]]


@pytest.mark.parametrize("vocabulary", NO_VOCABULARIES)
def test_malformed_vocabularies_are_named(folder, vocabulary):
    edit(folder / "tokenizer.json", lambda d: d["model"].update(vocab=vocabulary))
    with pytest.raises(ModelError, match=r"model\.vocab"):
        tokenizer_from_hf(folder)


@pytest.mark.parametrize("added", [{}, 5, [None], [{}], [{"id": 3}], [{"content": "x"}], [{"id": "3", "content": "x"}]])
def test_malformed_added_tokens_are_named(folder, added):
    edit(folder / "tokenizer.json", lambda d: d.update(added_tokens=added))
    if not added:
        return
    with pytest.raises(ModelError, match="added_tokens"):
        tokenizer_from_hf(folder)


def test_an_id_may_be_far_but_not_absurdly_far_beyond_the_others(folder):
    def at(number):
        return lambda d: d["added_tokens"].append(
            {"id": number, "content": "<|far|>", "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
        )  # fmt: skip

    count = tokenizer_from_hf(folder).vocab_size
    limit = 4 * (count + 1) + 1024
    before = (folder / "tokenizer.json").read_text(encoding="utf-8")
    edit(folder / "tokenizer.json", at(limit))
    with pytest.raises(ModelError, match=f"have a large gap .found {limit + 1}, limit {limit}"):
        tokenizer_from_hf(folder)
    (folder / "tokenizer.json").write_text(before, encoding="utf-8")
    edit(folder / "tokenizer.json", at(count))
    assert tokenizer_from_hf(folder).tokens[count] == "<|far|>"


def test_what_the_library_refuses_is_one_error(folder):
    edit(folder / "tokenizer.json", lambda d: d.update(pre_tokenizer={"type": "Mystery"}))
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be built: ") as caught:
        tokenizer_from_hf(folder)
    assert "\n" not in str(caught.value)


def test_the_template_file_comes_before_the_settings(folder):
    (folder / "chat_template.jinja").write_text("from the file", encoding="utf-8")
    assert tokenizer_from_hf(folder).chat_template == "from the file"


def test_of_several_templates_the_default_one_is_taken(folder):
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    edit(folder / "tokenizer_config.json", lambda d: d.update(chat_template=several))
    assert tokenizer_from_hf(folder).chat_template == "D"
    edit(folder / "tokenizer_config.json", lambda d: d.update(chat_template=several[:1]))
    assert tokenizer_from_hf(folder).chat_template is None


def test_every_declared_end_ends_a_generation(folder):
    edit(folder / "generation_config.json", lambda d: d.update(eos_token_id=[3, 4]))
    declaration = tokenizer_from_hf(folder)
    assert {declaration.tokens[i] for i in declaration.end_ids} >= {"<|im_end|>", declaration.tokens[3]}
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", lambda d: d.update(eos_token_id=5))
    assert 5 in tokenizer_from_hf(folder).end_ids


def test_an_end_beyond_the_vocabulary_is_reported_not_hidden(folder):
    size = tokenizer_from_hf(folder).vocab_size
    edit(folder / "generation_config.json", lambda d: d.update(eos_token_id=[size - 1, size]))
    assert tokenizer_from_hf(folder).unknown_end_ids == [size]


def test_settings_may_write_a_token_as_a_mapping(folder):
    edit(folder / "tokenizer_config.json", lambda d: d.update(eos_token={"content": "<|endoftext|>"}))
    assert tokenizer_from_hf(folder).eos_token == "<|endoftext|>"


def test_bos_policy_is_what_the_tokenizer_really_does(random_qwen2_folder, random_llama_folder):
    assert not tokenizer_from_hf(random_qwen2_folder).add_bos
    llama = tokenizer_from_hf(random_llama_folder)
    assert llama.add_bos
    assert llama.encode("Hi")[0] == llama.bos_id
    assert llama.encode("Hi", add_special=False)[0] != llama.bos_id


SCALARS = st.none() | st.booleans() | st.integers(-3, 400) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = [("model",), ("added_tokens",), ("pre_tokenizer",), ("normalizer",), ("post_processor",), ("decoder",)]
PLACES += [("model", "merges"), ("model", "vocab"), ("model", "type"), ("padding",), ("truncation",)]


@given(place=st.sampled_from(PLACES), value=JSON)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_replaced_part_is_read_or_refused_with_a_model_error(folder, random_qwen2_folder, place, value):
    document = json.loads((random_qwen2_folder / "tokenizer.json").read_text(encoding="utf-8"))
    part = document
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with contextlib.suppress(ModelError):
        declaration = tokenizer_from_hf(folder)
        assert isinstance(declaration.decode(declaration.encode("What is 2+2?")), str)
