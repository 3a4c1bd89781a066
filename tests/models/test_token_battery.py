"""The battery over right files finds nothing, and each way in which a tokenizer breaks is told by its cause."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from pathlib import Path

import pytest

from pytest_aprqa.models import token_causes as causes
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.token_battery import BATTERY, BYTE_CASES, KINDS, LARGEST_REPORT, compare_tokenizers
from pytest_aprqa.models.tokenizer import CONTROL, NORMAL, TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_apr, tokenizer_from_gguf
from tests.models.stored_tokenizers import apr_keys, gguf_keys, stored_tokenizer

FILE = Path("model.gguf")
PRE = {"qwen2": "qwen2", "llama": "gpt-2"}


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def pair(request: pytest.FixtureRequest) -> tuple[TokenizerDeclaration, dict[str, object]]:
    folder = request.getfixturevalue(f"random_{request.param}_folder")
    stored = stored_tokenizer(folder, PRE[request.param])
    return tokenizer_from_hf(folder), stored | {"adds_bos": request.param == "llama"}


def gguf(stored: dict[str, object], **changes: object) -> TokenizerDeclaration:
    return tokenizer_from_gguf(FILE, gguf_keys(stored, **({"add_bos_token": stored["adds_bos"]} | changes)))


def found_causes(source: TokenizerDeclaration, target: TokenizerDeclaration, **options: object) -> list[str]:
    return compare_tokenizers(source, target, **options).causes


def test_the_battery_has_texts_of_every_kind():
    assert len(BATTERY) == len(set(BATTERY)) > 100
    whole = "".join(BATTERY)
    kinds = {unicodedata.category(character) for character in whole}
    assert {"Lu", "Ll", "Lt", "Lo", "Mn", "Nd", "Nl", "No", "Zs", "Zl", "Cc", "Cf", "Sc", "So", "Po"} <= kinds
    assert max(map(len, BATTERY)) == 600
    for case in BYTE_CASES:
        if case not in (b"\xf0\x9f\x99\x82",):
            with pytest.raises(UnicodeDecodeError):
                case.decode("utf-8")


def test_a_right_file_has_no_problem(pair):
    source, stored = pair
    apr = tokenizer_from_apr(FILE, apr_keys(stored, add_bos_token=stored["adds_bos"]))
    for target in (gguf(stored), apr):
        result = compare_tokenizers(source, target)
        assert [str(problem) for problem in result.problems] == []
        assert result.texts == len(BATTERY)
        assert result.tokens > 3000
        assert result.alike == set(BATTERY)


def test_texts_that_differ_are_not_alike_and_others_are(pair):
    source, stored = pair
    shorter = stored["merges"][: len(stored["merges"]) // 2]
    result = compare_tokenizers(source, gguf(stored, merges=shorter))
    assert {problem.text for problem in result.problems if problem.at >= 0} & set(KINDS["scripts"])
    assert not {problem.text for problem in result.problems} & result.alike
    assert "" in result.alike


def test_what_the_format_cannot_declare_is_a_note_and_no_problem(random_qwen2_folder):
    source = tokenizer_from_hf(random_qwen2_folder)
    stored = stored_tokenizer(random_qwen2_folder, "qwen2") | {"adds_bos": False}
    result = compare_tokenizers(source, gguf(stored), ["e\u0301"])
    assert result.problems == []
    assert [note.cause.split(":")[0] for note in result.notes] == ["normaliser missing"]


def test_a_comparison_of_no_token_is_an_error(pair):
    source, stored = pair
    for texts in ([], [""]):
        if texts and stored["adds_bos"]:
            continue
        with pytest.raises(ModelError, match="no token was compared"):
            compare_tokenizers(source, gguf(stored), texts)


def test_lost_merges(pair):
    source, stored = pair
    shorter = stored["merges"][: len(stored["merges"]) // 2]
    assert found_causes(source, gguf(stored, merges=shorter)) == [causes.MERGES_LOST]
    swapped = [stored["merges"][1], stored["merges"][0], *stored["merges"][2:]]
    assert found_causes(source, gguf(stored, merges=swapped))[0] == "merges are in another order"


def test_another_pre_tokenizer(pair):
    source, stored = pair
    assert found_causes(source, gguf(stored, pre="llama-bpe", add_bos_token=stored["adds_bos"])) == [
        causes.PRE_TOKENIZER
    ]
    assert causes.PRE_TOKENIZER in found_causes(source, gguf(stored, pre=None))


def test_an_unknown_pre_tokenizer_is_told_once_and_never_replaced(pair):
    source, stored = pair
    (problem,) = compare_tokenizers(source, gguf(stored, pre="no-such")).problems
    assert "pre-tokenizer: unknown name (found no-such" in problem.cause


def test_lost_added_tokens(pair):
    source, stored = pair
    ordinary = gguf(stored, token_type=[NORMAL] * len(stored["tokens"]), eos_token_id=stored["eos"])
    assert causes.ADDED_LOST in found_causes(source, ordinary)
    rows = enumerate(zip(stored["tokens"], stored["types"], strict=True))
    renamed = [token if kind != CONTROL else f"gone{i}" for i, (token, kind) in rows]
    assert causes.ADDED_LOST in found_causes(source, gguf(stored, tokens=renamed))


def test_token_types_that_are_not_declared(pair):
    source, stored = pair
    without = gguf(stored, token_type=None)
    assert found_causes(source, without) == []
    assert found_causes(source, without, types_required=True) == [causes.TYPES_LOST]


@pytest.mark.parametrize("shift", [1, -1])
def test_ids_shifted_by_one(pair, shift):
    source, stored = pair
    tokens = [*stored["tokens"][-shift:], *stored["tokens"][:-shift]]
    types = [*stored["types"][-shift:], *stored["types"][:-shift]]
    found = found_causes(source, gguf(stored, tokens=tokens, token_type=types))
    assert causes.OFF_BY_ONE in found
    assert causes.MERGES_LOST not in found


def test_another_bos_policy(pair):
    source, stored = pair
    other = gguf(stored, add_bos_token=not stored["adds_bos"], bos_token_id=stored["bos"] or 0)
    assert found_causes(source, other) == [causes.BOS_POLICY]
    assert found_causes(source, gguf(stored, add_eos_token=True)) == [causes.EOS_POLICY]


def test_a_vocabulary_shorter_than_the_rows(pair):
    source, stored = pair
    size = len(stored["tokens"])
    assert found_causes(source, gguf(stored), rows=size) == []
    assert found_causes(source, gguf(stored), rows=size + 1) == [causes.SHORT]
    assert causes.SHORT in found_causes(
        source, gguf(stored, tokens=stored["tokens"][:-1], token_type=stored["types"][:-1], eos_token_id=0)
    )


def test_other_stop_tokens_and_templates(pair):
    source, stored = pair
    target = gguf(stored)
    assert found_causes(source, dataclasses.replace(target, end_ids=frozenset({0}))) == [causes.STOPS]
    assert found_causes(source, dataclasses.replace(target, chat_template="x")) == [causes.TEMPLATE]
    assert found_causes(source, dataclasses.replace(target, chat_template=None)) == [causes.TEMPLATE_LOST]


def test_two_tokens_that_changed_places(pair):
    source, stored = pair
    tokens = list(stored["tokens"])
    first, second = tokens.index("a"), tokens.index("e")
    tokens[first], tokens[second] = "e", "a"
    result = compare_tokenizers(source, gguf(stored, tokens=tokens))
    assert result.causes[0] == causes.OTHER_TOKENS
    assert "2 ids differ" in result.problems[0].found
    assert len(result.problems) <= LARGEST_REPORT


def test_a_problem_tells_its_place(pair):
    source, stored = pair
    target = gguf(stored, add_bos_token=not stored["adds_bos"], bos_token_id=stored["bos"] or 0)
    problem = compare_tokenizers(source, target, ["Hello"]).problems[0]
    assert str(problem).startswith("'Hello', token 0: ids [")
    assert problem.at == 0


@pytest.mark.parametrize(
    ("part", "value", "cause"),
    [
        ("normalizer", {"type": "Lowercase"}, causes.NORMALISER),
        ("model.unk_token", None, None),
        ("model.ignore_merges", True, None),
        ("pre_tokenizer", {"type": "Whitespace"}, causes.PRE_TOKENIZER),
    ],
)
def test_the_part_of_a_tokenizer_json_that_differs_is_the_cause(random_qwen2_folder, part, value, cause):
    """Only where a text comes out otherwise: the same ids from another spelling are the same tokenizer."""
    source = tokenizer_from_hf(random_qwen2_folder)
    document = json.loads(source.hf_json)
    place, _, name = part.rpartition(".")
    (document[place] if place else document)[name] = value
    target = dataclasses.replace(source, hf_json=json.dumps(document))
    found = compare_tokenizers(source, target, ("Hello World", "A b")).causes
    assert found == ([cause] if cause else [])
