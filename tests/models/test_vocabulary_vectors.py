"""Three vocabularies of llama.cpp's test set: byte-level BPE, SentencePiece, WordPiece, executed as their keys say."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from tests.models.vocabulary_vectors import STORED, vectors

NAMES = {"deepseek-coder": "gpt2", "llama-spm": "llama", "bert-bge": "bert"}


@pytest.fixture(scope="module", params=NAMES)
def vocabulary(request: pytest.FixtureRequest) -> tuple[str, TokenizerDeclaration]:
    with open_artifact(STORED / f"ggml-vocab-{request.param}.gguf") as opened:
        return request.param, opened.tokenizer


def test_ids_are_those_of_llama_cpp(vocabulary):
    name, tokenizer = vocabulary
    assert tokenizer.kind == NAMES[name]
    pairs = vectors(STORED / f"ggml-vocab-{name}.gguf")
    assert len(pairs) == 47
    assert sum(len(ids) for _, ids in pairs) > 300
    for text, ids in pairs:
        assert tokenizer.encode(text, add_special=False) == ids, text


def test_policy_of_what_is_put_around_a_text(vocabulary):
    name, tokenizer = vocabulary
    begin, end = {"deepseek-coder": (32013, None), "llama-spm": (1, None), "bert-bge": (101, 102)}[name]
    ids = tokenizer.encode("Hello")
    assert ids[0] == begin
    assert ids[1:] == [*tokenizer.encode("Hello", add_special=False), *([end] if end else [])]


def test_decoding_gives_the_text_back(vocabulary):
    name, tokenizer = vocabulary
    for text, ids in vectors(STORED / f"ggml-vocab-{name}.gguf"):
        decoded = tokenizer.decode(ids)
        if name == "bert-bge":
            assert decoded == decoded.lower()
        else:
            assert decoded == text


def test_special_tokens_in_a_text_are_parsed():
    with open_artifact(STORED / "ggml-vocab-llama-spm.gguf") as opened:
        tokenizer = opened.tokenizer
    assert tokenizer.encode("a</s>b", add_special=False) == [263, 2, 289]
    unprefixed = dataclasses.replace(tokenizer, add_space_prefix=False)
    assert unprefixed.encode("a</s>b", add_special=False) == [29874, 2, 29890]


def test_bytes_without_a_token_are_byte_tokens_there_and_back():
    with open_artifact(STORED / "ggml-vocab-llama-spm.gguf") as opened:
        tokenizer = opened.tokenizer
    ids = tokenizer.encode("\U00013000", add_special=False)
    assert [tokenizer.tokens[i] for i in ids] == ["▁", "<0xF0>", "<0x93>", "<0x80>", "<0x80>"]
    assert tokenizer.decode(ids) == "\U00013000"
    assert tokenizer.decode(ids[:3]) == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.0]}, "tokenizer scores: differ in number .found 1, limit 32000"),
        ({"kind": "rwkv"}, "tokenizer model: unknown kind .found rwkv, limit gpt2, llama, gemma4, bert, t5"),
        ({"kind": "bert", "unknown_id": None}, "tokenizer unknown id: is missing"),
        ({"kind": "t5", "scores": []}, "tokenizer scores: differ in number .found 0, limit 32000"),
        ({"kind": "gemma4"}, "merges: the tokenizer has no merges"),
        ({"kind": "t5", "charsmap": b"\x01"}, "tokenizer: cannot be built"),
    ],
)
def test_a_declaration_that_cannot_be_built_is_one_error(changes, message):
    with open_artifact(STORED / "ggml-vocab-llama-spm.gguf") as opened:
        broken = dataclasses.replace(opened.tokenizer, **changes)
    with pytest.raises(ModelError, match=message):
        broken.build()
