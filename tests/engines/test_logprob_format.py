"""The two shapes of log-probabilities: what one side writes the other reads, and what is no such shape is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.logprob_format import LEAST, CompletionLogprobs, chat_logprobs, parsed_logprobs
from pytest_aprqa.engines.protocol import TokenChoice, TokenLogprob


def told(data: bytes, logprob: float, token: int | None = None) -> TokenLogprob:
    return TokenLogprob(data.decode("utf-8", errors="replace"), logprob, token, list(data))


HALF, OTHER_HALF, WORD, SAME = (
    told(b"\xc3", -0.5, 1),
    told(b"\xa4", -1.0, 2),
    told(b" a", -2.0, 3),
    told(b" a", -3.0, 4),
)
CHOICES = [TokenChoice(HALF, [HALF, WORD]), TokenChoice(OTHER_HALF, [WORD, SAME]), TokenChoice(WORD, [])]


def test_completions_write_half_a_character_as_bytes_and_count_offsets_in_characters() -> None:
    value = CompletionLogprobs(10).piece(CHOICES)
    assert value["tokens"] == ["bytes:\\xc3", "bytes:\\xa4", " a"]
    assert value["text_offset"] == [10, 10, 11]
    assert value["top_logprobs"] == [
        {"bytes:\\xc3": -0.5, " a": -2.0},
        {" a": -2.0, "bytes:\\xa4": -1.0},  # the likelier of two tokens with one text, and the chosen one
        {" a": -2.0},
    ]
    one_by_one = CompletionLogprobs(10)
    pieces = [one_by_one.piece([choice]) for choice in CHOICES]
    assert [offset for piece in pieces for offset in piece["text_offset"]] == value["text_offset"]


@pytest.mark.parametrize("write", [CompletionLogprobs(0).piece, chat_logprobs], ids=["completions", "chat"])
def test_what_is_written_is_read(write: Any) -> None:
    found = parsed_logprobs(json.loads(json.dumps(write(CHOICES))))
    assert [one.chosen.logprob for one in found] == [-0.5, -1.0, -2.0]
    assert [bytes(one.chosen.bytes or one.chosen.text.encode()) for one in found] == [b"\xc3", b"\xa4", b" a"]
    assert [one.logprob for one in found[0].best] == [-0.5, -2.0]


def test_the_impossible_is_a_number_of_json() -> None:
    never = TokenChoice(told(b"x", float("-inf")), [])
    assert json.dumps(chat_logprobs([never]), allow_nan=False)
    assert CompletionLogprobs(0).piece([never])["token_logprobs"] == [LEAST]


def test_null_tells_nothing() -> None:
    assert parsed_logprobs(None) == []
    assert parsed_logprobs({"content": None}) == []
    assert parsed_logprobs({"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": None})[0].best == []


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        "text",
        {},
        {"tokens": ["a"]},
        {"tokens": ["a", "b"], "token_logprobs": [-1.0], "top_logprobs": [{}, {}]},
        {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [float("nan")], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [True], "top_logprobs": [{}]},
        {"tokens": [1], "token_logprobs": [-1.0], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": "b"}]},
        {"content": [{"token": "a"}]},
        {"content": [{"token": "a", "logprob": float("-inf")}]},
        {"content": [{"token": "a", "logprob": -1.0, "bytes": [256]}]},
        {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [None]}]},
        {"content": 3},
    ],
)
def test_another_shape_is_one_line(value: Any) -> None:
    with pytest.raises(EngineError, match=r"^server: logprobs: found ") as caught:
        parsed_logprobs(value)
    assert len(str(caught.value)) < 200
