"""Merging by scores as llama.cpp does it, and the texts on which merging by ranks can part from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.scored_merges import ScoredMerges, texts_of_doubt
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_keys import stripped_by_name, tokenizer_from_gguf
from tests.models.vocabulary_vectors import STORED, vectors

VOCABULARY = STORED / "ggml-vocab-llama-spm.gguf"
PHI_3 = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "plain"]
KINDS = [2, 3, 3, 3, 4, 1]


@pytest.fixture(scope="module")
def llama_2() -> TokenizerDeclaration:
    with open_artifact(VOCABULARY) as opened:
        return opened.tokenizer


def test_ids_are_those_of_llama_cpp(llama_2: TokenizerDeclaration) -> None:
    merges = ScoredMerges(llama_2)
    pairs = vectors(VOCABULARY)
    assert len(pairs) == 47
    for text, ids in pairs:
        assert merges.encode(text) == [1, *ids], text


def test_special_tokens_spaces_and_what_is_put_around(llama_2: TokenizerDeclaration) -> None:
    changed = dataclasses.replace(llama_2, add_bos=False, closing_id=2)
    assert ScoredMerges(changed).encode("a</s>b") == [263, 2, 289, 2]
    bare = dataclasses.replace(changed, add_space_prefix=False, closing_id=None)
    assert ScoredMerges(bare).encode("a</s>b") == [29874, 2, 29890]
    assert ScoredMerges(bare).encode("") == []
    eater = dataclasses.replace(bare, stripped_behind=frozenset({"</s>"}))
    assert ScoredMerges(eater).encode("a</s> \n\tb</s> ") == [29874, 2, 29890, 2]
    assert ScoredMerges(eater).encode("</s>\u00a0b")[1:] == ScoredMerges(bare).encode("\u00a0b")


def small(**scores: float) -> ScoredMerges:
    tokens = [*"abc", *scores]
    keys = {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, *scores.values()], "tokenizer.ggml.token_type": [1] * len(tokens),
    }  # fmt: skip
    return ScoredMerges(tokenizer_from_gguf(Path("m.gguf"), keys))


def test_the_best_score_is_first_and_of_equal_ones_the_left() -> None:
    assert small(ab=-1.0, bc=-2.0).merge("abc") == [3, 2]
    assert small(ab=-2.0, bc=-1.0).merge("abc") == [0, 4]
    assert small(ab=-1.0, bc=-1.0).merge("abc") == [3, 2]
    assert small(aa=-1.0).merge("aaa") == [3, 0]
    with pytest.raises(KeyError, match="0xC3"):
        small(ab=-1.0).merge("é")


@pytest.mark.parametrize(
    ("tokens", "merges", "doubts"),
    [
        (["ab"], [("a", "b")], []),
        (["ab", "bc"], [("a", "b")], ["bc"]),
        (["ab", "bc", "abc"], [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")], []),
        (["aa", "aaa"], [("a", "a"), ("a", "aa"), ("aa", "a")], ["aaaaa", "aaaa"]),
        (["ab", "bc", "abc", "cc"], [("b", "c"), ("a", "b"), ("a", "bc"), ("c", "c"), ("ab", "c")], ["abcc"]),
    ],
)
def test_texts_of_doubt(tokens: list[str], merges: list[tuple[str, str]], doubts: list[str]) -> None:
    names = [*"abc", *tokens]
    assert list(texts_of_doubt(names, [False] * len(names), merges)) == doubts


def test_special_tokens_are_no_doubt() -> None:
    assert list(texts_of_doubt(["a", "b", "ab"], [False, False, True], [])) == []
    assert list(texts_of_doubt(["a", "b", "ab"], [False, False, False], [])) == ["ab"]


@pytest.mark.parametrize("name", ["Phi-3-mini", "my phi3", "PHI-3.5"])
def test_the_name_says_whose_white_space_is_dropped(name: str) -> None:
    assert stripped_by_name(name, PHI_3, KINDS) == {"</s>", "<|user|>"}
    assert stripped_by_name(name, PHI_3[1:], KINDS[1:]) == frozenset()
    assert stripped_by_name("phi-4", PHI_3, KINDS) == frozenset()


def test_the_reader_drops_it_too(llama_2: TokenizerDeclaration) -> None:
    bare = dataclasses.replace(llama_2, add_bos=False)
    eater = dataclasses.replace(bare, stripped_behind=frozenset({"</s>"}))
    assert eater.encode("a</s> \n b") == ScoredMerges(eater).encode("a</s> \n b") == [263, 2, 289]
    assert bare.encode("a</s> \n b") == ScoredMerges(bare).encode("a</s> \n b") != [263, 2, 289]
