"""Draws are sorted by id, or by text where several tokens write the same; the sets of top-p, either way round."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_aprqa.suite.next_tokens import Outcomes
from pytest_aprqa.suite.sampling_statistics import probabilities, share_between


class Tokens:
    """Six tokens: two that write "4", one with half a character, one that ends, one that is only a space."""

    tokens = ("4", " 4", "a", "\\xe4", "<end>", " ")
    end_ids = frozenset([4])

    def decode(self, ids, skip_special=True):
        return {3: "\N{REPLACEMENT CHARACTER}"}.get(ids[0], self.tokens[ids[0]])


def test_tokens_of_one_text_are_one_outcome():
    outcomes = Outcomes(Tokens(), 7, by_text=True)  # a seventh row of the head that is no token
    assert outcomes.names == ["", "4", "a"]
    assert outcomes.likely(np.array([0.1, 0.2, 0.3, 0.05, 0.15, 0.15, 0.05])) == pytest.approx([0.4, 0.3, 0.3])
    drawn = [(None, " 4"), (None, "4"), (None, "a"), (None, ""), (None, "\N{REPLACEMENT CHARACTER}"), (None, "b")]
    assert outcomes.counted(drawn) == {1: 2, 2: 1, 0: 2, -1: 1}
    assert outcomes.name(1) == "4"
    assert outcomes.name(-1) == "something that no token writes"


def test_ids_are_taken_as_they_are():
    outcomes = Outcomes(Tokens(), 7, by_text=False)
    weights = np.full(7, 1 / 7)
    assert outcomes.likely(weights) is weights
    assert outcomes.counted([([1], " 4"), ([1], " 4"), ([6], ""), ([], "")]) == {1: 2, 6: 1, -1: 1}
    assert [outcomes.name(n) for n in (1, 6)] == [" 4", "id 6"]


def test_the_set_of_top_p_can_be_that_of_temperature_one():
    logits = np.array([2.0, 1.0, 0.0, -1.0], np.float32)  # at 1: 0.644, 0.237, 0.087, 0.032; at 2: 0.455, 0.276, 0.167
    assert (probabilities(logits, 2.0, 0.6) > 0).sum() == 2
    cut = probabilities(logits, 2.0, 0.6, cut_first=True)
    assert cut == pytest.approx([1, 0, 0, 0])
    two = probabilities(logits, 2.0, 0.8, cut_first=True)
    assert two == pytest.approx(np.array([np.e**1, np.e**0.5, 0, 0]) / (np.e + np.e**0.5))


@pytest.mark.parametrize(("least", "expected"), [(0.3, 0.25), (0.5, 0.25), (0.51, 0.65), (0.8, 0.65), (1.0, 0.9)])
def test_the_share_is_in_the_middle_of_a_token(least, expected):
    assert share_between(np.array([0.3, 0.2, 0.5]), least) == pytest.approx(expected)
    assert (probabilities(np.log([0.3, 0.2, 0.5]), 1.0, expected) > 0).sum() == {0.25: 1, 0.65: 2, 0.9: 3}[expected]
