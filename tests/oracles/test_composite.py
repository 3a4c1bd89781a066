import pytest

from pytest_aprqa.oracles.composite import combine
from pytest_aprqa.oracles.errors import OracleError
from pytest_aprqa.oracles.judgement import Judgement

PASS, SKIP = Judgement("a", "pass", "fine"), Judgement("b", "skip", "nothing to say")
FIRST, SECOND = Judgement("c", "fail", "first"), Judgement("d", "fail", "second")


@pytest.mark.parametrize(
    ("members", "mode", "verdict"),
    [
        ([], "all", "skip"),
        ([SKIP, SKIP], "all", "skip"),
        ([SKIP, SKIP], "any", "skip"),
        ([PASS, SKIP], "all", "pass"),
        ([PASS, FIRST], "all", "fail"),
        ([PASS, FIRST], "any", "pass"),
        ([SKIP, FIRST], "any", "fail"),
        ([FIRST, SECOND], "any", "fail"),
    ],
)
def test_all_must_pass_or_any_one(members, mode, verdict):
    assert combine(members, mode=mode).verdict == verdict


def test_the_first_failing_member_wins():
    assert combine([PASS, FIRST, SECOND]).reason == "c: first"


def test_an_unknown_mode_is_refused():
    with pytest.raises(OracleError, match="unknown mode 'most'; known: all, any"):
        combine([PASS], mode="most")
