"""Where two greedy answers part, and whether the reference's lead there makes it matter."""

import pytest

from pytest_aprqa.numerics.greedy_margin import compare_greedy, first_token

EXPECTED, MARGINS = [10, 11, 12, 13, 14], [5.0, 0.2, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("expected", "found", "at"),
    [
        ([], [], None),
        ([1], [1], None),
        ([1], [], 0),
        ([], [1], 0),
        ([1, 2], [1], 1),
        ([1], [1, 2], 1),
        ([1, 2], [1, 3], 1),
    ],
)
def test_the_first_token_that_is_another_one(expected, found, at):
    assert first_token(expected, found) == at


@pytest.mark.parametrize(("limit", "matters"), [(0.199, True), (0.2, False), (0.201, False)])
def test_another_token_matters_above_the_limit_only(limit, matters):
    difference = compare_greedy(EXPECTED, [10, 99, 98, 97, 96], MARGINS, limit, prompt="Hi")
    assert (difference.prompt, difference.at, difference.margin) == ("Hi", 1, 0.2)
    assert (difference.expected, difference.found) == ([11, 12, 13], [99, 98, 97])
    assert difference.matters == matters


def test_equal_answers_have_no_difference():
    assert compare_greedy(EXPECTED, list(EXPECTED), MARGINS, 0.0) is None


def test_nothing_excuses_a_token_without_a_margin():
    assert compare_greedy(EXPECTED, [*EXPECTED, 15], MARGINS, 1e9).matters
    assert compare_greedy(EXPECTED, [10, 99, 12, 13, 14], [], 1e9).matters
