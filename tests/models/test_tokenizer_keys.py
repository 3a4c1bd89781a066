"""Tokenizers of GGUF and APR files: incomplete and contradicting declarations are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.token_causes import declaration_problems
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_apr, tokenizer_from_gguf
from tests.models.stored_tokenizers import UNUSED, apr_keys, gguf_keys, stored_tokenizer

FILE = Path("model.bin")


@pytest.fixture(scope="module")
def stored(random_qwen2_folder: Path):
    return stored_tokenizer(random_qwen2_folder, "qwen2")


@pytest.fixture(scope="module")
def llama(random_llama_folder: Path):
    return stored_tokenizer(random_llama_folder, "gpt-2")


@pytest.mark.parametrize(
    ("read", "keys", "name"),
    [(tokenizer_from_gguf, gguf_keys, "tokens"), (tokenizer_from_apr, apr_keys, "vocabulary")],
)
def test_a_file_without_tokens_has_no_tokenizer(stored, read, keys, name):
    for value in (None, [], "abc", {}):
        with pytest.raises(ModelError, match=r"^model\.bin: tokenizer: the tokenizer is missing; convert again"):
            read(FILE, keys(stored, **{name: value}))


@pytest.mark.parametrize(("read", "keys"), [(tokenizer_from_gguf, gguf_keys), (tokenizer_from_apr, apr_keys)])
def test_lost_merges_are_named(stored, read, keys):
    for value in (None, []):
        with pytest.raises(ModelError, match="the tokenizer has no merges; convert again with the whole tokenizer"):
            read(FILE, keys(stored, merges=value))


@pytest.mark.parametrize(("read", "keys"), [(tokenizer_from_gguf, gguf_keys), (tokenizer_from_apr, apr_keys)])
def test_an_id_is_allowed_up_to_the_last_token(stored, read, keys):
    last = len(stored["tokens"]) - 1
    assert read(FILE, keys(stored, eos_token_id=last)).eos_id == last
    for value in (last + 1, -1, "2", True, 2**64):
        with pytest.raises(ModelError, match=f"tokenizer eos id: is outside the vocabulary .*limit {last}"):
            read(FILE, keys(stored, eos_token_id=value))


def test_types_must_be_as_many_as_tokens(stored):
    types = stored["types"]
    assert tokenizer_from_gguf(FILE, gguf_keys(stored, token_type=types)).types_declared
    for wrong in (types[:-1], [*types, 1]):
        with pytest.raises(ModelError, match=f"found {len(wrong)}, limit {len(types)}"):
            tokenizer_from_gguf(FILE, gguf_keys(stored, token_type=wrong))
    with pytest.raises(ModelError, match="token types"):
        tokenizer_from_gguf(FILE, gguf_keys(stored, token_type=["x"] * len(types)))


def test_an_unknown_pre_tokenizer_is_refused_by_name(stored):
    declaration = tokenizer_from_gguf(FILE, gguf_keys(stored, pre="mystery"))
    with pytest.raises(ModelError, match=r"pre-tokenizer: unknown name \(found mystery, limit qwen2"):
        declaration.build()


@pytest.mark.parametrize("kind", ["rwkv", "plamo2", "no_vocab", "", 3])
def test_a_vocabulary_that_is_not_read_is_refused_by_its_kind(stored, kind):
    limit = "limit gpt2, llama, gemma4, bert, t5"
    with pytest.raises(ModelError, match=rf"tokenizer\.ggml\.model: is a kind .*found {kind}, {limit}"):
        tokenizer_from_gguf(FILE, gguf_keys(stored, model=kind))


def test_a_merge_of_unknown_tokens_is_named(stored):
    merges = [*stored["merges"], "nothing such"]
    declaration = tokenizer_from_gguf(FILE, gguf_keys(stored, merges=merges))
    with pytest.raises(ModelError, match=rf"merge {len(merges) - 1}: names a token that is not in the vocabulary"):
        declaration.build()


def test_a_repeated_token_is_named_with_both_ids(stored):
    tokens = [*stored["tokens"][:-1], stored["tokens"][5]]
    declaration = tokenizer_from_gguf(FILE, gguf_keys(stored, tokens=tokens))
    with pytest.raises(ModelError, match=rf"a token occurs twice .* at 5 and {len(tokens) - 1}"):
        declaration.build()


def test_unused_rows_are_no_tokens_and_may_repeat(stored):
    tokens = [*stored["tokens"], "[PAD]", "[PAD]"]
    types = [*stored["types"], UNUSED, UNUSED]
    declaration = tokenizer_from_gguf(FILE, gguf_keys(stored, tokens=tokens, token_type=types))
    plain = tokenizer_from_gguf(FILE, gguf_keys(stored))
    assert declaration.encode("[PAD] 2+2") == plain.encode("[PAD] 2+2")
    assert declaration.vocab_size == plain.vocab_size + 2


def test_fillers_of_the_released_importer_are_no_tokens(stored):
    plain = tokenizer_from_apr(FILE, apr_keys(stored))
    padded = tokenizer_from_apr(FILE, apr_keys(stored, vocabulary=[*stored["tokens"], "<unk>", "<unk>", "<unk>"]))
    assert padded.token_types[-3:] == [UNUSED] * 3
    assert padded.encode("<unk> and 4") == plain.encode("<unk> and 4")


def test_special_tokens_without_types_are_told_by_shape(stored):
    declaration = tokenizer_from_apr(FILE, apr_keys(stored))
    ids = declaration.encode("<|im_start|>x<|im_end|>")
    assert ids[0] == stored["tokens"].index("<|im_start|>")
    assert declaration.decode(ids) == "x"
    assert not declaration.types_declared


def test_bos_is_added_by_policy_and_without_one_only_for_llama3(llama):
    bos = llama["bos"]
    for pre, policy, expected in [
        ("gpt-2", None, False),
        ("gpt-2", True, True),
        ("llama-bpe", None, True),
        ("llama-bpe", False, False),
        ("default", None, False),
    ]:
        declaration = tokenizer_from_gguf(FILE, gguf_keys(llama, pre=pre, add_bos_token=policy))
        assert (declaration.encode("Hi")[0] == bos) is expected, (pre, policy)
    assert tokenizer_from_apr(FILE, apr_keys(llama)).encode("Hi")[0] != bos


def test_end_ids_are_the_declared_ones_and_special_tokens_named_as_ends(stored, llama):
    names = {stored["tokens"][i] for i in tokenizer_from_gguf(FILE, gguf_keys(stored)).end_ids}
    assert names == {"<|im_end|>", "<|endoftext|>"}
    names = {llama["tokens"][i] for i in tokenizer_from_gguf(FILE, gguf_keys(llama, eot_token_id=7)).end_ids}
    assert names == {"<|end_of_text|>", "<|eot_id|>", llama["tokens"][7]}


def test_a_token_named_as_an_end_that_is_ordinary_text_ends_nothing(stored):
    types = [1] * len(stored["tokens"])
    declaration = tokenizer_from_gguf(FILE, gguf_keys(stored, token_type=types, eos_token_id=3))
    assert declaration.end_ids == {3}


def test_the_template_of_apr_is_read_from_either_key(stored):
    keys = apr_keys(stored)
    template = keys.pop("tokenizer.chat_template")
    assert tokenizer_from_apr(FILE, keys).chat_template is None
    assert tokenizer_from_apr(FILE, keys | {"chat_template": template}).chat_template == template


def test_pre_tokenizer_of_apr_without_a_name_is_the_familys(stored):
    keys = apr_keys(stored, pre_type=None)
    assert tokenizer_from_apr(FILE, keys | {"architecture": "qwen2"}).pre_tokenizer == "qwen2"
    assert tokenizer_from_apr(FILE, keys | {"architecture": "llama"}).pre_tokenizer == "gpt-2"


def test_a_gguf_file_without_an_eos_id_ends_where_llama_cpp_ends(stored):
    """llama.cpp takes id 11 for the EOS of byte-level vocabularies that name none: answers end at a comma."""
    keys = gguf_keys(stored)
    whole = tokenizer_from_gguf(FILE, keys)
    assert whole.eos_declared
    del keys["tokenizer.ggml.eos_token_id"]
    found = tokenizer_from_gguf(FILE, keys)
    assert (found.eos_declared, found.eos_id) == (False, 11)
    assert found.end_ids == whole.end_ids | {11}
    causes = [cause for *_, cause in declaration_problems(whole, found, None, True)]
    assert causes == ["no EOS id is declared: engines end an answer at an id of their own"]
