"""Names of pre-tokenizers: which splits they mean, and which name a tokenizer.json deserves."""

from __future__ import annotations

import copy

import pytest
from tokenizers import Regex, pre_tokenizers

from pytest_aprqa.models.pre_tokenizers import BEGIN_BY_NAME, PATTERNS, UNKNOWN, WHOLE_TOKENS_FIRST, name_of
from tests.model_fixtures import QWEN2_PATTERN

QWEN2 = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    ],
}
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def pieces(name: str, text: str) -> list[str]:
    splits = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in PATTERNS[name]]
    )
    return [piece for piece, _ in splits.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen2", ["It", "'S", " ", "1", "2", "3", "4", "...\n"]),
        ("gpt-2", ["It", "'", "S", " 1234", "...", "\n"]),
        ("llama-bpe", ["It", "'S", " ", "123", "4", "...\n"]),
        ("smollm", ["It", "'", "S", " ", "1", "2", "3", "4", "...", "\n"]),
        ("default", ["It", "'", "S", " ", "123", "4", "...", "\n"]),
    ],
)
def test_a_name_means_its_splits(name, expected):
    assert pieces(name, "It'S 1234...\n") == expected


@pytest.mark.parametrize("name", PATTERNS)
def test_splits_lose_nothing(name):
    text = " \t Größe 数数 12345!?\r\n\n  x_y 😀 "
    assert "".join(pieces(name, text)) == text


def test_whole_tokens_and_begin_are_of_known_names():
    assert set(PATTERNS) >= WHOLE_TOKENS_FIRST
    assert WHOLE_TOKENS_FIRST >= BEGIN_BY_NAME
    assert "smaug-bpe" not in WHOLE_TOKENS_FIRST


def test_the_splits_of_tokenizer_json_get_their_name():
    assert name_of(QWEN2) == "qwen2"
    assert name_of(GPT2) == "gpt-2"
    digits = {"type": "Digits", "individual_digits": True}
    assert name_of({"type": "Sequence", "pretokenizers": [digits, GPT2]}) == "smollm"


OTHER_SPLITS = [
    {"pattern": {"Regex": r"\w+"}},
    {"pattern": {"String": " "}},
    {"behavior": "Removed"},
    {"invert": True},
    {"type": "Whitespace"},
]
NOT_BYTE_LEVEL = [
    None,
    {},
    [],
    "ByteLevel",
    {"pretokenizers": 3},
    {"type": "Sequence", "pretokenizers": [None, 4]},
    GPT2 | {"add_prefix_space": True},
    QWEN2["pretokenizers"][0],
]


@pytest.mark.parametrize("changes", OTHER_SPLITS)
def test_other_splits_have_no_name(changes):
    document = copy.deepcopy(QWEN2)
    document["pretokenizers"][0] |= changes
    assert name_of(document) == UNKNOWN


@pytest.mark.parametrize("document", NOT_BYTE_LEVEL)
def test_what_is_no_byte_level_pre_tokenizer_has_no_name(document):
    assert name_of(document) == UNKNOWN
