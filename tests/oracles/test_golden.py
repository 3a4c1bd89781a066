import pytest

from pytest_aprqa.oracles.golden import judge_golden


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "skip"),
        ({"expected_prefix": ""}, "skip"),
        ({"expected_prefix": "The answer"}, "pass"),
        ({"expected_prefix": " The answer "}, "pass"),
        ({"expected_prefix": "the answer"}, "fail"),
        ({"must_contain": ["4"]}, "pass"),
        ({"must_contain": "is 4"}, "pass"),
        ({"must_contain": "4 is"}, "fail"),
        ({"must_contain": ["4", "5"]}, "fail"),
        ({"must_not_contain": ["5"]}, "pass"),
        ({"must_not_contain": "is"}, "fail"),
        ({"expected_prefix": "The", "must_contain": ["4"], "must_not_contain": ["PAD"]}, "pass"),
    ],
)
def test_prefix_required_and_forbidden_texts(settings, verdict):
    assert judge_golden("\nThe answer is 4.", **settings).verdict == verdict


def test_an_empty_output_meets_no_expectation():
    assert judge_golden("", expected_prefix="x").verdict == "fail"
    assert judge_golden("", must_contain=["x"]).verdict == "fail"
