import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.errors import OracleError
from pytest_aprqa.oracles.selection import SETTINGS, judge


def verdicts(prompt: str, output: str, *configured, **settings) -> dict[str, str]:
    return {j.oracle: j.verdict for j in judge(prompt, output, configured, **settings)}


# upstream-oddities.md section 7: what the ancestor passed without looking.
@pytest.mark.parametrize(
    ("output", "accepted"),
    [
        ("\x7f" * 32, False),
        ("", False),
        ("The answer is 5.", False),
        ("The answer to this question is 4.", True),
        ("RRRRRRRR", False),
        ("4", True),
        ("\x1b[1m4\x1b[0m", True),
        ("=== APR Run ===\n\nSource: m.apr\n\nOutput:\n4\n\nCompleted in 0.01s (cached)\n", True),
        ("=== APR Run ===\n\nSource: m.apr\n\n4 tok/s\n", False),
    ],
)
def test_answers_to_two_and_two(output, accepted):
    assert ("fail" not in verdicts("What is 2+2?", output).values()) is accepted


def test_without_configuration_arithmetic_code_and_garbage_judge():
    assert verdicts("Hello!", "Hi there") == {"garbage": "pass", "arithmetic": "skip", "code_syntax": "skip"}


def test_garbage_judges_also_when_it_is_not_configured_and_only_once():
    assert verdicts("Hello!", "Hi", {"type": "response"}) == {"garbage": "pass", "response": "skip"}
    assert [j.oracle for j in judge("Hello!", "Hi", [{"type": "response"}, {"type": "garbage"}])] == [
        "response",
        "garbage",
    ]


def test_settings_reach_their_oracle():
    answers = {"type": "arithmetic", "config": {"answers": {"Six by nine?": 54}}}
    assert verdicts("Six by nine?", "54", answers)["arithmetic"] == "pass"
    assert verdicts("Six by nine?", "42", answers)["arithmetic"] == "fail"
    strict = {"type": "garbage", "config": {"max_repetition_ratio": 0.1}}
    assert verdicts("Hi", "one two three one five six seven", strict)["garbage"] == "fail"
    golden = {"type": "golden", "config": {"must_contain": ["four"]}}
    assert verdicts("Hi", "4", golden)["golden"] == "fail"


def test_a_composite_holds_its_members():
    members = [{"type": "arithmetic"}, {"type": "golden", "config": {"must_contain": ["four"]}}]
    either = {"type": "composite", "config": {"mode": "any", "oracles": members}}
    both = {"type": "composite", "config": {"oracles": members}}
    assert verdicts("What is 2+2?", "four", either) == {"garbage": "pass", "composite": "pass"}
    assert verdicts("What is 2+2?", "four", both) == {"garbage": "pass", "composite": "fail"}


def test_the_token_limit_reaches_code_and_garbage():
    code = "\n    x = 1\n    y = (1"
    assert verdicts("def f():", code)["code_syntax"] == "fail"
    assert verdicts("def f():", code, truncated=True)["code_syntax"] == "pass"
    assert verdicts("Hi", "你好\ufffd")["garbage"] == "fail"
    assert verdicts("Hi", "你好\ufffd", truncated=True)["garbage"] == "pass"


@pytest.mark.parametrize(
    ("oracle", "said"),
    [
        ({"type": "arithmetics"}, "unknown type 'arithmetics'; known: arithmetic"),
        ({}, "unknown type None"),
        ({"type": "response", "config": {"min_relevanc": 1}}, "response: unknown setting 'min_relevanc'"),
        ({"type": "composite", "config": {"mode": "most", "oracles": []}}, "unknown mode 'most'"),
        ({"type": "composite", "config": {"oracles": [{"type": "x"}]}}, "unknown type 'x'"),
    ],
)
def test_what_no_oracle_knows_is_refused_in_one_line(oracle, said):
    with pytest.raises(OracleError, match=said) as caught:
        judge("Hi", "there", [oracle])
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60), st.text(max_size=60), st.booleans())
def test_at_least_one_oracle_really_looks(prompt, output, truncated):
    configured = [{"type": kind} for kind in SETTINGS if kind != "garbage"]
    for oracles in ([], configured):
        assert {j.verdict for j in judge(prompt, output, oracles, truncated=truncated)} - {"skip"}
