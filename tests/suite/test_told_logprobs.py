"""Told log-probabilities beside known logits: sound ones are near, each kind of wrong one is far or is named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.engines.protocol import TokenChoice, TokenLogprob
from pytest_aprqa.engines.token_choices import token_choice
from pytest_aprqa.models.tokenizer import NORMAL, TokenizerDeclaration
from pytest_aprqa.suite.told_logprobs import TokenNames, answer_ids, compare_told

LETTERS = "abcdefgh"
TOKENS = [*LETTERS, "Ã", "Ä", "aÃ"]  # the last three in bytes: half a character, another half, and one after an a
MARGIN = 0.03


@pytest.fixture(scope="module")
def names() -> TokenNames:
    declared = TokenizerDeclaration(
        path=Path("x"),
        tokens=TOKENS,
        token_types=[NORMAL] * len(TOKENS),
        merges=[],
        pre_tokenizer="default",
        bos_id=None,
        eos_id=None,
        end_ids=frozenset(),
        add_bos=False,
        chat_template=None,
    )
    return TokenNames(declared)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, len(TOKENS))).astype(np.float32) * 3


def text(token: int) -> bytes:
    return bytes(ord(letter) for letter in TOKENS[token])


def choices_of(rows: np.ndarray, ids: list[int], best: int = 3) -> list[TokenChoice]:
    return [token_choice(row, token, best, text) for row, token in zip(rows, ids, strict=True)]


def test_the_values_of_the_logits_are_no_distance(names: TokenNames, logits: np.ndarray) -> None:
    ids = [0, 1, 2, 3]
    distance = compare_told(choices_of(logits, ids), ids, logits, names, MARGIN, 3)
    assert (distance.positions, distance.mistaken) == (4, [])
    assert distance.values == 16
    assert distance.rms < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rows: rows / 2,
        lambda rows: np.roll(rows, -1, axis=0),
        lambda rows: rows + np.random.default_rng(1).normal(size=rows.shape) * 0.2,
    ],
    ids=["temperature", "shifted", "another-model"],
)
def test_other_values_are_far(names: TokenNames, logits: np.ndarray, wrong: object) -> None:
    ids = [0, 1, 2, 3]
    distance = compare_told(choices_of(wrong(logits), ids), ids, logits, names, MARGIN, 3)  # type: ignore[operator]
    assert distance.rms > 0.1
    assert distance.worst is not None


def test_root_mean_square_of_a_known_error(names: TokenNames, logits: np.ndarray) -> None:
    (choice,) = choices_of(logits[:1], [0], best=1)
    off = TokenChoice(choice.chosen, [TokenLogprob("x", choice.best[0].logprob - 0.5, None, choice.best[0].bytes)])
    distance = compare_told([off], [0], logits[:1], names, MARGIN, 3)
    assert distance.values == 2
    assert distance.rms == pytest.approx(0.5 / math.sqrt(2))
    assert distance.worst is not None
    assert distance.worst[2] - distance.worst[3] == pytest.approx(-0.5)


def test_another_token_than_the_answers_and_a_best_one_left_out_are_named(
    names: TokenNames, logits: np.ndarray
) -> None:
    row = np.array([[5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]], np.float32)
    shifted = compare_told(choices_of(row, [1]), [0], row, names, MARGIN, 3)
    assert shifted.mistaken == ["position 0: 'b', the answer has 'a'"]
    (choice,) = choices_of(row, [1], best=4)
    without = TokenChoice(choice.chosen, choice.best[1:])
    found = compare_told([without], [1], row, names, MARGIN, 3).mistaken
    assert found == ["position 0: 'a' (-0.477) is not among the best 3 told"]
    close = np.array([[5, 4, 3, 2.98, 1, 0, 0, 0, 0, 0, 0]], np.float32)
    (choice,) = choices_of(close, [0], best=4)
    swapped = TokenChoice(choice.chosen, [*choice.best[:2], choice.best[3]])
    assert compare_told([swapped], [0], close, names, 0.03, 3).mistaken == []
    assert compare_told([swapped], [0], close, names, 0.01, 3).mistaken


def test_a_chosen_token_told_beside_the_best_is_none_of_them(names: TokenNames, logits: np.ndarray) -> None:
    rare = int(logits[0].argmin())
    (choice,) = choices_of(logits[:1], [rare])
    beside = TokenChoice(choice.chosen, [*choice.best, choice.chosen])
    distance = compare_told([beside], [rare], logits[:1], names, MARGIN, 3)
    assert (distance.mistaken, distance.values) == ([], 5)


def test_a_text_that_several_tokens_may_write_names_none(names: TokenNames) -> None:
    def only_text(one: str) -> TokenLogprob:
        return TokenLogprob(one, -1.0)

    assert names.id(only_text("b")) == 1
    assert names.id(only_text("a")) is None  # a server that leaves half a character out prints the last token so
    assert set(names.ids(only_text("a"))) == {0, 10}
    assert names.id(TokenLogprob("a", -1.0, None, [97])) == 0
    assert names.id(only_text("nothing")) is None


def test_ids_are_those_told_else_those_of_the_names(names: TokenNames, logits: np.ndarray) -> None:
    choices = choices_of(logits, [1, 2, 8, 3])
    assert answer_ids(choices, [9, 9], names) == [9, 9]
    assert answer_ids(choices, None, names) == [1, 2, 8, 3]
    bare = [TokenChoice(TokenLogprob(one.chosen.text, one.chosen.logprob), []) for one in choices]
    assert answer_ids(bare, None, names) == [1, 2]  # half a character says no id
