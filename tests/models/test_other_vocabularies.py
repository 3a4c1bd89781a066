"""SentencePiece and Unigram as tokenizer.json and as GGUF keys: one vocabulary, the same ids."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pytest_aprqa.models import token_causes as causes
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.token_battery import compare_tokenizers
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_gguf
from tests.models.vocabulary_vectors import STORED

FILE = Path("m.gguf")
TEXTS = ["the quick brown fox", "  jumps over  the lazy dog ", "quick quick", "unknown: 你", "thequick"]


def test_sentencepiece_of_a_folder_and_of_gguf_agree(tmp_path):
    with open_artifact(STORED / "ggml-vocab-llama-spm.gguf") as opened:
        gguf = opened.tokenizer
    (tmp_path / "tokenizer.json").write_text(gguf.build().to_str(), encoding="utf-8")
    source = dataclasses.replace(tokenizer_from_hf(tmp_path), end_ids=gguf.end_ids)
    assert source.kind == gguf.kind == "llama"
    unbegun = dataclasses.replace(gguf, add_bos=False)
    result = compare_tokenizers(source, unbegun, types_required=True)
    assert [str(problem) for problem in result.problems] == []
    assert result.tokens > 2000
    assert compare_tokenizers(source, gguf).causes == [causes.BOS_POLICY]
    unprefixed = dataclasses.replace(unbegun, add_space_prefix=False)
    assert causes.OTHER in compare_tokenizers(source, unprefixed).causes
    flat = dataclasses.replace(unbegun, scores=[0.0] * len(gguf.tokens))
    assert compare_tokenizers(source, flat).problems != []


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 20, trainer)
    return tokenizer


def unigram_keys(tokenizer: Tokenizer) -> dict[str, object]:
    rows = json.loads(tokenizer.to_str())["model"]["vocab"]
    kinds = [3, 3, 2] + [1] * (len(rows) - 3)
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": [token for token, _ in rows],
        "tokenizer.ggml.scores": [score for _, score in rows],
        "tokenizer.ggml.token_type": kinds,
    }


def test_unigram_keys_give_the_ids_of_the_trained_tokenizer(unigram):
    target = tokenizer_from_gguf(FILE, unigram_keys(unigram))
    for text in TEXTS:
        expected = unigram.encode(text, add_special_tokens=False).ids
        assert target.encode(text, add_special=False) == expected
        assert target.encode(text) == [*expected, 1]


def test_scores_that_are_no_numbers_are_refused(unigram):
    keys = unigram_keys(unigram)
    for wrong, message in (("x", "is not a number"), ([1.0], "differ in number .found 1"), ([True], "is not a number")):
        with pytest.raises(ModelError, match=message):
            tokenizer_from_gguf(FILE, keys | {"tokenizer.ggml.scores": wrong})
    with pytest.raises(ModelError, match="precompiled_charsmap: is not a list of bytes"):
        tokenizer_from_gguf(FILE, keys | {"tokenizer.ggml.precompiled_charsmap": [300]})
