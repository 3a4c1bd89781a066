"""The oracles that the shipped playbooks choose: right answers are accepted, wrong ones refused, none goes unjudged."""

from pathlib import Path

import pytest

from pytest_aprqa.oracles.selection import judge
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.playbook import Playbook

MODELS = Path(__file__).resolve().parents[2] / "playbooks" / "models"

# prompt -> (a right answer, a wrong one)
TINY = {
    "What is 2+2?": ("4", "5"),
    "What is 47+38?": ("\n85", "84"),
    "What is 15-7?": ("8", "-8"),
    "What is 83-26?": ("57", "157"),
    "Calculate 7*8": ("56", "54"),
    "What is 12*11?": ("132", "121"),
    "23+45=": ("68", "78"),
    "def fibonacci(n):": (
        "\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)",
        "\n    if n < 2 return",
    ),
    "def is_prime(n):": ("\n    return n > 1 and all(n % i for i in range(2, n))", "\n    return n > 1 and all(("),
    "Hello!": ("Hello! How can I help you?", ""),
    "List 3 colors": ("Red, green, blue.", "\x7f" * 32),
    "What is Python?": ("Python is a programming language.", "the the the the the the the"),
}
CODER = {
    "Let x = 5 and y = 3. What is x * y + 2?": ("x * y + 2 = 15 + 2 = 17", "15"),
    "List the first five prime numbers, then give their sum.": (
        "2, 3, 5, 7 and 11; the sum is 28.",
        "2, 3, 5, 7, 9: 26",
    ),
    "The function add(a, b) returns a + b. What is add(3, 4)?": ("It returns 7.", "It returns 12."),
    "What is 123*456? Work step by step.": ("123*400 = 49200, 123*56 = 6888, together 56,088.", "50000"),
    "What is the sum of the numbers from 1 to 20?": ("The sum is 210.", "The sum is 200."),
    "What is the tenth Fibonacci number?": ("It is 55.", "It is 89."),
    "What is 0.1 + 0.2?": ("0.3", "0.4"),
    "What is 999 + 1?": ("1000", "1001"),
    "What is 1000000 - 999999?": ("1", "0"),
    "What is 2+2?": ("2 + 2 equals 4.", "14"),
    "Calculate 7*8": ("56", "48"),
    "What is 15-7?": ("8", "9"),
    "What is 100/4?": ("25", "24"),
    "def fibonacci(n):": ("\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)", "\n    return ]("),
    "fn main() {": ('\n    println!("Hello");\n}', '\n    println!("Hello"]);\n}'),
}
CASES = [
    (name, prompt, right, wrong)
    for name, table in (("tiny-qwen2-mvp", TINY), ("qwen-coder-mvp", CODER))
    for prompt, (right, wrong) in table.items()
]


def load(name: str) -> Playbook:
    return load_playbook(MODELS / f"{name}.playbook.yaml")


@pytest.mark.parametrize(("name", "table"), [("tiny-qwen2-mvp", TINY), ("qwen-coder-mvp", CODER)])
def test_every_prompt_has_a_case_here(name, table):
    assert load(name).matrix.prompts == tuple(table)


@pytest.mark.parametrize(("name", "prompt", "right", "wrong"), CASES)
def test_right_is_accepted_and_wrong_refused(name, prompt, right, wrong):
    oracles = load(name).oracles
    accepted = judge(prompt, right, oracles)
    assert [j for j in accepted if j.verdict == "fail"] == []
    assert [j for j in accepted if j.verdict == "pass"] != []
    assert [j for j in judge(prompt, wrong, oracles) if j.verdict == "fail"] != []


@pytest.mark.parametrize(("name", "prompt", "right", "wrong"), CASES)
def test_calculations_and_code_are_judged_by_their_own_oracle(name, prompt, right, wrong):
    passed = {j.oracle for j in judge(prompt, right, load(name).oracles) if j.verdict == "pass"}
    if prompt in ("Hello!", "List 3 colors", "What is Python?"):
        assert "garbage" in passed
    else:
        assert ("code_syntax" if prompt.endswith((":", "{")) else "arithmetic") in passed
