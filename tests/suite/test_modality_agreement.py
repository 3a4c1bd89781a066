"""What two modalities disagree about is named: extra or missing ids, the first different place, the text."""

from __future__ import annotations

import pytest

from pytest_aprqa.engines.protocol import GenerationResult
from pytest_aprqa.suite.modality_agreement import disagreement, id_difference

NAMES = ("run", "serve")


def answer(text="x", prompt=(1, 2), new=(3,), count=None):
    ids = None if prompt is None else list(prompt)
    return GenerationResult("k", text, ids, None if new is None else list(new), "stop", 0.1, prompt_tokens=count)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([9, 1, 2], [1, 2], "run has [9] more than serve at 0"),
        ([1, 2], [1, 2, 7, 8], "serve has [7 8] more than run at 2"),
        ([1, 5, 6, 2], [1, 2], "run has [5 6] more than serve at 1"),
        ([1, 2, 3], [1, 4, 3], "3 in run, 3 in serve, first different at 1: [2 3] and [4 3]"),
        ([1, 2], [3, 4, 5], "2 in run, 3 in serve, first different at 0: [1 2] and [3 4 5]"),
        (list(range(20)), [], "run has [0 1 2 3 4 5 6 7 ...] more than serve at 0"),
    ],
)
def test_extra_and_missing_ids_are_named(first, second, words):
    assert id_difference(first, second, NAMES) == words


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (answer(), answer(), None),
        (answer(prompt=(0, 1, 2)), answer(), "prompt ids: run has [0] more than serve at 0"),
        (answer(new=(3, 4)), answer(), "new ids: run has [4] more than serve at 1"),
        (answer(text="a"), answer(text="b"), "text: 'a' in run, 'b' in serve"),
        (answer(prompt=None, count=2), answer(), None),
        (answer(prompt=None, count=31), answer(), "prompt ids: 31 in run, 2 in serve"),
        (answer(prompt=None, new=None), answer(), None),
        (answer(prompt=None, new=None, text="a"), answer(), "text: 'a' in run, 'x' in serve"),
    ],
)
def test_first_disagreement_is_named_and_what_is_not_told_is_not_compared(first, second, words):
    found = disagreement(first, second, NAMES)
    assert found is None if words is None else found.startswith(words)
