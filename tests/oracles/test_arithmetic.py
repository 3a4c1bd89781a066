import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.arithmetic import judge_arithmetic


def verdict(prompt: str, output: str, **settings) -> str:
    return judge_arithmetic(prompt, output, **settings).verdict


@pytest.mark.parametrize(
    ("prompt", "output", "expected"),
    [
        ("What is 2+2?", "4", "pass"),
        ("What is 2+2?", "5", "fail"),
        ("What is 2+2?", "14", "fail"),
        ("What is 2+2?", "", "fail"),
        ("What is 2+2?", "\x7f" * 32, "fail"),
        ("What is 2+2?", "The answer is 5.", "fail"),
        ("What is 2+2?", "The answer to this question is 4.", "pass"),
        ("What is 2+2?", "2 + 2 = 4", "pass"),
        ("What is 2+2?", "2+2=4", "pass"),
        ("What is 2+2?", "**4**", "pass"),
        ("What is 2+2?", "4.0", "pass"),
        ("What is 2+2?", "4.5", "fail"),
        ("What is 2+2?", "42", "fail"),
        ("What is 2+2?", "0.4", "fail"),
        ("What is 2+2?", "x4", "fail"),
        ("What is 2+2?", "-4", "fail"),
        ("What is 15-7?", "8", "pass"),
        ("What is 15-7?", "-8", "fail"),
        ("What is 15-7?", "15-7=8", "pass"),
        ("What is 5-8?", "5-8=-3", "pass"),
        ("What is 5-8?", "\u22123", "pass"),
        ("What is 5-8?", "3", "fail"),
        ("Calculate 7*8", "56", "pass"),
        ("Calculate 7*8", "$56$", "pass"),
        ("What is 100/4?", "25", "pass"),
        ("What is 123*456?", "56,088", "pass"),
        ("What is 123*456?", "56088", "pass"),
        ("What is 123*456?", "156,088", "fail"),
        ("What is 123*456?", "56", "fail"),
        ("What is 999 + 1?", "1,000.", "pass"),
        ("What is 999 + 1?", "1,0001", "fail"),
        ("Hello!", "4", "skip"),
        ("What is 1/0?", "undefined", "skip"),
    ],
)
def test_the_result_must_stand_in_the_output_as_a_number_of_its_own(prompt, output, expected):
    assert verdict(prompt, output) == expected


@pytest.mark.parametrize(
    ("output", "expected"), [("0.3", "pass"), ("0.31", "pass"), ("0.29", "pass"), ("0.311", "fail"), ("0.289", "fail")]
)
def test_a_result_that_is_not_whole_is_met_within_a_hundredth(output, expected):
    assert verdict("0.1 + 0.2", output) == expected


def test_the_tolerance_is_a_setting_and_does_not_touch_whole_results():
    assert verdict("0.1 + 0.2", "0.34", tolerance=0.04) == "pass"
    assert verdict("0.1 + 0.2", "0.35", tolerance=0.04) == "fail"
    assert verdict("What is 2+2?", "4.005", tolerance=0.04) == "fail"


@pytest.mark.parametrize("output", ["What is 4/2?", "4/2", "4 / 2 = ", "I do not know what 4 /2 is."])
def test_the_question_repeated_is_no_answer(output):
    assert verdict("What is 4/2?", output) == "fail"
    assert verdict("What is 4/2?", output + " It is 2.") == "pass"


@pytest.mark.parametrize(
    ("declared", "output", "expected"),
    [
        (17, "x * y + 2 = 17", "pass"),
        ("17", "17", "pass"),
        ("17", "170", "fail"),
        (0.5, "0.5", "pass"),
        ("Paris", "It is paris.", "pass"),
        ("Paris", "Parisian", "fail"),
        ("red fox", "A Red Fox ran.", "pass"),
        ("Paris", "", "fail"),
        (0, "10", "fail"),
        (0, "0", "pass"),
    ],
)
def test_declared_answers_of_word_problems_go_first(declared, output, expected):
    prompt = "Let x = 5 and y = 3. What is x * y + 2?"
    assert verdict(prompt, output, answers={prompt: declared}) == expected
    assert verdict("What is 2+2?", output, answers={"What is 2+2?": declared}) == expected


def test_a_declared_answer_is_not_found_in_the_repeated_prompt():
    prompt = "Is 7 prime? How much is it and ten?"
    assert verdict(prompt, f"{prompt} Hm.", answers={prompt: 7}) == "fail"
    assert verdict(prompt, f"{prompt} 7", answers={prompt: 7}) == "pass"


def test_answers_of_other_prompts_do_not_count():
    assert verdict("What is 2+2?", "4", answers={"another": "5"}) == "pass"


def test_the_reason_names_what_was_expected_and_found():
    assert judge_arithmetic("What is 2+2?", "five").reason == "expected 4, found 'five'"
    assert judge_arithmetic("0.1 + 0.2", "").reason == "expected 0.3, found ''"


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_right_sums_are_accepted_and_wrong_ones_refused(a, b):
    prompt = f"What is {a}+{b}?"
    assert verdict(prompt, f"The sum is {a + b}.") == "pass"
    assert verdict(prompt, f"{a + b:,}") == "pass"
    assert verdict(prompt, f"The sum is {a + b + 1}.") == "fail"


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_texts_are_judged_without_error(prompt, output):
    assert verdict(prompt, output) in ("pass", "fail", "skip")
