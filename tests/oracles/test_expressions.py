from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.expressions import evaluate, first_calculation


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("What is 2+2?", "4"),
        ("2+2=", "4"),
        ("23+45=", "68"),
        ("What is 15-7?", "8"),
        ("Calculate 7*8", "56"),
        ("What is 100/4?", "25"),
        ("0.1 + 0.2", "0.3"),
        ("What is 0.1 + 0.2?", "0.3"),
        ("What is 1000000 - 999999?", "1"),
        ("What is 123*456? Work step by step.", "56088"),
        ("What is 2+3*4?", "14"),
        ("What is (2+3)*4?", "20"),
        ("What is 10 - 2 - 3?", "5"),
        ("What is 2*(3+(4-1))?", "12"),
        ("What is 7 x 8?", "56"),
        ("What is 7 × 8?", "56"),
        ("What is 12 ÷ 4?", "3"),
        ("What is 5−8?", "-3"),
        ("What is -5+3?", "-2"),
        ("What is 5 - -3?", "8"),
        ("What is 1,000 + 1?", "1001"),
        ("What is 1,234,567 + 1?", "1234568"),
        ("What is 1/8?", "0.125"),
        ("(what is 2+3)", "5"),
        ("a) 2+3", "5"),
        ("The value of 2+2 is", "4"),
        ("15-7", "8"),
        ("1914-1918=", "-4"),
        ("What's 9-4?", "5"),
        ("Add 4 and 5, then 6+7.", "13"),
    ],
)
def test_the_first_calculation_is_worked_out(prompt, result):
    found = first_calculation(prompt)
    assert found is not None
    assert found.result == Decimal(result)


@pytest.mark.parametrize(
    "prompt",
    [
        "Hello!",
        "List 3 colors",
        "def fibonacci(n):",
        "Let x = 5 and y = 3. What is x * y + 2?",
        "What happened in 1914-1918?",
        "Are you open 24/7?",
        "Describe a 1920x1080 screen",
        "Write 3-5 sentences",
        "What about COVID-19?",
        "On 2024-05-01 it rained",
        "What is 1/0?",
        "What is 2^10+1?",
        "What is 2+2^3?",
        "What is 2**3?",
        "What is 2+2x?",
        "What is 5 + 10% of 50?",
        "What is 20% of 50 + 10?",
        "What is sqrt(16+9)?",
        "What is 2+2 times 3?",
        "version 1.2-3.4.5",
        "What is add(3, 4)?",
        "",
    ],
)
def test_what_is_no_plain_calculation_is_left_to_others(prompt):
    assert first_calculation(prompt) is None


@given(st.integers(-999, 999), st.integers(0, 999), st.integers(0, 999), st.sampled_from("+-*"), st.sampled_from("+-*"))
def test_results_agree_with_python(a, b, c, first, second):
    text = f"{a} {first} {b} {second} {c}"
    assert evaluate(text) == eval(text)
    found = first_calculation(f"What is {text}?")
    assert found is not None
    assert found.result == eval(text)


@given(st.text(alphabet="0123456789+-*/x().,= ^%what is", max_size=60))
def test_any_prompt_is_read_without_error(prompt):
    found = first_calculation(prompt)
    assert found is None or (found.text in prompt and found.result == evaluate(found.text))


def test_a_long_prompt_is_read_in_linear_time():
    found = first_calculation("(" * 20_000 + "1+" * 20_000 + " " * 20_000)
    assert found is not None
    assert found.result == 20_000
    assert first_calculation("1 " * 50_000) is None
