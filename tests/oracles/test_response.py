import pytest

from pytest_aprqa.oracles.response import OVERLAP_ABOVE_WORDS, content_words, judge_response

RAIN = "Explain why rain falls from clouds"  # content words: rain, fall, cloud
OFF_SUBJECT = ["bread"] + [f"{a}{b}" for a in "bcdfg" for b in ("aker", "ender", "iter", "over")]


def verdict(prompt: str, output: str, **settings) -> str:
    return judge_response(prompt, output, **settings).verdict


@pytest.mark.parametrize(
    ("prompt", "output"),
    [
        ("List 3 colors", "Red, green, blue."),
        ("Hello!", "Hello! How can I help you?"),
        ("What is Python?", "Python is a programming language."),
        ("What is 2+2?", "4"),
        ("Name the capital of France", "Paris"),
        ("A haiku about autumn rain", "Leaves drift, silent gold; evening on the grey roofs; lamps wake one by one"),
        (RAIN, "Water vapour cools in clouds until its drops are heavy enough, and then they fall."),
    ],
)  # fmt: skip
def test_right_answers_are_never_refused(prompt, output):
    assert verdict(prompt, output) in ("pass", "skip")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "no letter and no digit"),
        (" \n", "no letter and no digit"),
        ("?!...", "no letter and no digit"),
        ("___", "no letter and no digit"),
        (RAIN, "repeats the prompt"),
        (RAIN.upper() + "?!", "repeats the prompt"),
        (f"  {RAIN} \n", "repeats the prompt"),
    ],
)
def test_nothing_and_the_prompt_repeated_are_no_answer(output, reason):
    judgement = judge_response(RAIN, output)
    assert judgement.verdict == "fail"
    assert reason in judgement.reason


def test_a_long_answer_off_the_subject_is_refused_and_a_short_one_left_to_others():
    assert OVERLAP_ABOVE_WORDS == 20
    assert verdict(RAIN, " ".join(OFF_SUBJECT[:20])) == "skip"
    assert verdict(RAIN, " ".join(OFF_SUBJECT[:21])) == "fail"


IS_PRIME = """
    if n < 2:
        return False
    for i in range(2, int(n ** 0.5) + 1):
        if n % i == 0:
            return False
    return True
"""


@pytest.mark.parametrize("prompt", ["def is_prime(n):", "fn is_prime(n: u32) -> bool {", "class PrimeSieve:"])
def test_a_completion_of_code_need_not_repeat_the_prompt(prompt):
    judgement = judge_response(prompt, IS_PRIME)
    assert (judgement.verdict, judgement.reason) == ("skip", "the prompt is code")


@pytest.mark.parametrize("output", ["", "\n", "def is_prime(n):"])
def test_nothing_is_no_completion_of_code_either(output):
    assert verdict("def is_prime(n):", output) == "fail"


def test_relevance_at_the_limit_is_accepted_and_below_it_refused():
    prompt = "alpha beta gamma delta epsilon"
    one_of_five = " ".join(["alpha", *OFF_SUBJECT])
    assert verdict(prompt, one_of_five, min_relevance=0.2) == "pass"
    assert verdict(prompt, one_of_five, min_relevance=0.21) == "fail"
    assert verdict(prompt, " ".join(OFF_SUBJECT), min_relevance=0.2) == "fail"


def test_a_limit_of_zero_switches_relevance_off():
    assert verdict(RAIN, " ".join(OFF_SUBJECT), min_relevance=0) == "pass"


@pytest.mark.parametrize(("prompt", "looked"), [("What is rain?", False), ("What is rain cloud?", True)])
def test_relevance_needs_two_content_words_in_the_prompt(prompt, looked):
    assert verdict(prompt, " ".join(OFF_SUBJECT)) == ("fail" if looked else "skip")


def test_coherence_is_looked_at_when_it_is_asked_for():
    soup = "rain rain rain rain rain clouds rain"
    assert verdict(RAIN, soup) == "pass"
    assert verdict(RAIN, soup, check_coherence=True) == "fail"
    assert verdict(RAIN, "Clouds cool, so rain falls.", check_coherence=True) == "pass"


def test_content_words_are_compared_without_case_and_plural():
    assert content_words("What are the Colors of a RAINBOW?") == content_words("rainbows, color")
