import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.garbage import (
    MIN_ENTROPY_BITS,
    STATISTICS_FROM_CHARS,
    STATISTICS_FROM_TOKENS,
    entropy,
    judge_garbage,
)


def verdict(text: str, **settings) -> str:
    return judge_garbage(text, **settings).verdict


# gates.md section 8, column [R], and the examples of the G4 specification file.
GARBAGE = {
    "VILLEVILLEVILLEVILLE": "highly repetitive",
    "akakakakakak": "highly repetitive",
    "the the the the the": "highly repetitive",
    "the the the the the the": "highly repetitive",
    "value: NaN": "NaN or Inf",
    "loss = inf": "NaN or Inf",
    "\x7f" * 32: "control characters",
    "\x00\x01\x02\x03\x04": "control characters",
    "": "empty",
    " \n\t ": "empty",
    "a" * 23: "highly repetitive",
    "!@#$%^&*()_+": "no letter and no digit",
    "olumbia+lsi nunca/localENTS": "mixes case",
    "The \ufffd answer": "replacement characters",
    "R" * 40: "highly repetitive",
    "HHHHHHHH": "highly repetitive",
}
ANSWERS = [
    "abcabcXYZ",
    "abcabc",
    "abababXXXX",
    "The answer to this question is",
    "The answer to this question is 4.",
    "More information about this",
    "4",
    "Paris",
    "The answer is 4.",
    '```python\nprint("Hello")\n```',
    "Hello! How can I help you?",
    "Red, green, blue.",
    "- Red\n- Green\n- Blue",
    "1. Red\n2. Green\n3. Blue",
    "| Name | Age |\n|------|-----|\n| Ann | 30 |",
    "Title\n==========\nSome words of text.",
    "999999",
    "The result is 999999.",
    "101010",
    "-111111",
    "0.3333333333333333",
    "$1,111,111",
    "2, 3, 5, 7, 11, 13, 17",
    "2 + 2 equals 4.",
    "JavaScript, TypeScript, CoffeeScript",
    "macOS, Windows, Linux",
    "OpenAI, PostgreSQL, GitHub",
    "document.getElementById(elementName).appendChild(newChild)",
    "`innerHTML` and `outerHTML` and `textContent` are properties.",
    "```js\nconst parseJSON = toHTML(someURL)\n```",
    "日本語はカタカナと漢字をつかう言語です。 私は学生です。 それはペンです。",
    "Python是一种编程语言 Python是 Java是一种",
    "파이썬은 Python이라는 프로그래밍 언어입니다",
    "Привет! Чем я могу помочь вам сегодня?",
    "مرحبا! كيف يمكنني مساعدتك اليوم؟",
    "Il-belt Ġgantija hija f'Għawdex, u l-knisja wkoll",
    "Hello 👋🏽 there 👨‍👩‍👧",
    "Infinity is a concept.",
    "x = float('inf')",
    "import math; best = math.inf",
    "if isNaN(x): return",
    "Nan is my grandmother's name.",
    "\x1b[1m\x1b[32m4\x1b[0m",
    "\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)",
    "\n    a = 1\n    b = 2\n    c = 3\n    return a + b + c",
]


@pytest.mark.parametrize(("text", "reason"), GARBAGE.items())
def test_garbage_is_refused_with_its_sign(text, reason):
    judgement = judge_garbage(text)
    assert judgement.verdict == "fail"
    assert reason in judgement.reason


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_accepted(text):
    assert judge_garbage(text).reason == "no sign of garbage"


@pytest.mark.parametrize("text", ["NaN", "nan nan nan", "-inf", "x=+Inf", "= -Infinity", "[1.0, nan, 2.0]", "NaN%"])
def test_nan_and_inf_as_whole_words_are_garbage(text):
    assert "NaN or Inf" in judge_garbage(text).reason


@pytest.mark.parametrize("text", ["information", "infinite", "banana", "nan_count", "non-inf", '"NaN" is a string'])
def test_nan_and_inf_inside_words_and_quotes_are_not(text):
    assert verdict(text) == "pass"


@pytest.mark.parametrize("code", [0, 1, 7, 8, 11, 12, 27, 31, 127, 128, 0x85, 159])
def test_each_control_character_is_garbage(code):
    assert "control characters" in judge_garbage(f"The answer{chr(code)} is 4").reason


@pytest.mark.parametrize("character", "\n\t\r")
def test_line_ends_and_tabs_are_not(character):
    assert verdict(f"The answer{character}is 4") == "pass"


@pytest.mark.parametrize("character", ["\ue000", "\uf8ff", "\U00100000", "\ud800"])
def test_characters_without_a_meaning_are_garbage(character):
    assert "without a meaning" in judge_garbage(f"The answer {character} is 4").reason


# -- statistics: each limit just below and just above ------------------------------------------------------------------

TEN_TOKENS = "word {} ab cd ef gh ij kl mn op"  # ten different tokens; {} makes one of them the first again


def test_the_most_frequent_word_may_be_a_share_of_the_limit_but_not_more():
    three_of_ten = "word word word cd ef gh ij kl mn op"
    four_of_ten = "word word word word ef gh ij kl mn op"
    assert verdict(three_of_ten) == "pass"
    assert "repeats 'word' in 40%" in judge_garbage(four_of_ten).reason
    assert verdict(four_of_ten, max_repetition_ratio=0.4) == "pass"
    assert verdict(three_of_ten, max_repetition_ratio=0.29) == "fail"


def test_the_number_of_different_characters_may_be_the_limit_but_not_less():
    nine = "abc def gh bca fed hg cab"
    ten = "abc def gh bca fed hg cai"
    assert len(set(nine)) == 9
    assert len(set(ten)) == 10
    assert "9 different characters, limit 10" in judge_garbage(nine).reason
    assert verdict(ten) == "pass"
    assert verdict(nine, min_unique_chars=9) == "pass"
    assert verdict(ten, min_unique_chars=11) == "fail"


def test_statistics_begin_at_twenty_characters():
    short, long = "ab ba ab ba abba bab", "ab ba ab ba abba babb"
    assert STATISTICS_FROM_CHARS == 20
    assert verdict(short[:-1]) == "pass"
    assert verdict(short) == "fail"
    assert verdict(long) == "fail"


def test_statistics_begin_at_five_tokens():
    assert STATISTICS_FROM_TOKENS == 5
    assert verdict("abcba cbabc bcabca acbac") == "pass"
    assert verdict("abcba cbabc bcabca acbac b") == "fail"


def test_entropy_is_in_bits_per_character():
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("abab") == 1.0
    assert entropy("abcd") == 2.0


def test_a_text_below_one_bit_of_entropy_is_garbage_and_one_above_is_not():
    rare = " b c d e f g h i j k"
    below = f"{'a' * 5}{'aaaa' * 60} x{rare}"
    assert entropy(below) < MIN_ENTROPY_BITS
    settings = {"max_repetition_ratio": 1.0, "min_unique_chars": 1}
    words = ["q" * n + "w" + "q" * n for n in range(12, 17)]  # few w, many q
    text = " ".join(words)
    assert entropy(text) < MIN_ENTROPY_BITS
    assert "bits of entropy" in judge_garbage(text, **settings).reason or "repetitive" in judge_garbage(text).reason
    above = "qwe rty uio pas dfg hjk"
    assert entropy(above) > MIN_ENTROPY_BITS
    assert verdict(above, **settings) == "pass"


def test_a_list_of_numbers_has_few_characters_but_must_not_repeat_one():
    assert verdict("2, 4, 6, 8, 10, 12, 14, 16") == "pass"
    assert verdict("0.0 0.0 1.0 0.0 2.0 0.0 0.0") == "fail"


# -- a token limit inside a character ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "accepted"), [(1, True), (3, True), (4, False)])
def test_a_character_cut_by_the_token_limit_is_no_garbage(count, accepted):
    text = "你好！我可以帮你" + "\ufffd" * count
    assert verdict(text) == "fail"
    assert verdict(text, truncated=True) == ("pass" if accepted else "fail")


def test_a_replacement_character_in_the_middle_is_garbage_also_when_truncated():
    assert verdict("a\ufffdb", truncated=True) == "fail"
    assert verdict("\ufffd", truncated=True) == "fail"


@given(st.text())
def test_it_always_looks_and_never_fails_itself(text):
    assert verdict(text) in ("pass", "fail")


@given(st.text(max_size=200), st.booleans())
def test_a_blank_output_never_passes(text, truncated):
    if verdict(text, truncated=truncated) == "pass":
        assert any(c.isalnum() for c in text)
