"""Prompt ids and texts: what GGUF and APR declare gives what the Hugging Face tokenizer gives, for any text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_apr, tokenizer_from_gguf
from tests.model_fixtures import PROMPTS
from tests.models.stored_tokenizers import apr_keys, gguf_keys, stored_tokenizer

FILE = Path("model.bin")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>", "<|im_start|", "<unk>"]
PIECES = st.one_of(
    st.sampled_from([*SPECIAL, *PROMPTS, "  ", "\r\n", "123 4567", "it's IT'S", "\u00a0", "\u2028", "é", "e\u0301"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
# Qwen2's tokenizer.json composes accents first; GGUF and APR have no key for it, so texts are composed here.
TEXTS = st.lists(PIECES, max_size=8).map(lambda pieces: unicodedata.normalize("NFC", "".join(pieces)))
PRE = {"qwen2": "qwen2", "llama": "gpt-2"}


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def declared(request: pytest.FixtureRequest) -> dict[str, TokenizerDeclaration]:
    folder = request.getfixturevalue(f"random_{request.param}_folder")
    stored = stored_tokenizer(folder, PRE[request.param])
    adds_bos = request.param == "llama"
    return {
        "safetensors": tokenizer_from_hf(folder),
        "gguf": tokenizer_from_gguf(FILE, gguf_keys(stored, add_bos_token=adds_bos)),
        "apr": tokenizer_from_apr(FILE, apr_keys(stored, add_bos_token=adds_bos, token_type=stored["types"])),
        "apr without types": tokenizer_from_apr(FILE, apr_keys(stored, add_bos_token=adds_bos)),
        "library": Tokenizer.from_file(str(folder / "tokenizer.json")),
    }


@given(text=TEXTS, add_special=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_declaration_gives_the_ids_of_the_hugging_face_tokenizer(declared, text, add_special):
    expected = declared["library"].encode(text, add_special_tokens=add_special).ids
    for name, tokenizer in declared.items():
        if name != "library":
            assert tokenizer.encode(text, add_special) == expected, name


@given(text=TEXTS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decoding_the_ids_of_a_text_gives_the_text(declared, text):
    for name, tokenizer in declared.items():
        if name != "library":
            ids = tokenizer.encode(text, add_special=False)
            assert tokenizer.decode(ids, skip_special=False) == text, name


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ids_decode_to_the_same_text_in_every_format(declared, data):
    size = declared["safetensors"].vocab_size
    ids = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    texts = {tokenizer.decode(ids) for tokenizer in declared.values()}
    assert len(texts) == 1


def test_a_declared_bos_is_put_in_front_once_and_only_when_asked(declared):
    tokenizer = declared["gguf"]
    plain = tokenizer.encode("Hello", add_special=False)
    whole = tokenizer.encode("Hello")
    assert whole == ([tokenizer.bos_id, *plain] if tokenizer.add_bos else plain)


@pytest.mark.parametrize("name", ["gguf", "apr", "apr without types"])
def test_ids_template_and_ends_equal_the_folder(declared, name):
    ours, theirs = declared[name], declared["safetensors"]
    assert ours.vocab_size == theirs.vocab_size
    assert ours.pre_tokenizer == theirs.pre_tokenizer
    assert ours.chat_template == theirs.chat_template
    assert ours.eos_id == theirs.eos_id
    assert ours.end_ids == theirs.end_ids
    assert ours.add_bos == theirs.add_bos


def test_a_text_that_is_not_unicode_is_one_model_error(declared):
    for name, tokenizer in declared.items():
        if name != "library":
            with pytest.raises(ValueError, match="cannot encode"):
                tokenizer.encode("\ud800")
