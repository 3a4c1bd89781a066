import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.code_syntax import judge_code_syntax, language_of

STUB = "def fibonacci(n):"
BODY = "\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)"
WHOLE = STUB + BODY


def verdict(prompt: str, output: str, **settings) -> str:
    return judge_code_syntax(prompt, output, **settings).verdict


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("def f(n):", "python"),
        ("async def f():", "python"),
        ("class Foo:", "python"),
        ("class Foo(Bar):", "python"),
        ("@cache\ndef f():", "python"),
        ("fn main() {", "rust"),
        ("pub fn main() {", "rust"),
        ("async fn main() {", "rust"),
        ("function f(a) {", "javascript"),
        ("async function f(a) {", "javascript"),
        ("export function f(a) {", "javascript"),
        ("class Foo {", "other"),
        ("public class Foo extends Bar {", "other"),
        ("What is 2+2?", None),
        ("define a word", None),
        ("classify this", None),
        ("Function of the heart", None),
        ("", None),
    ],
)
def test_the_first_words_of_a_prompt_tell_its_language(prompt, language):
    assert language_of(prompt) == language


@pytest.mark.parametrize(
    "output",
    [
        BODY,
        " return n",
        BODY + "\n\nprint(fibonacci(10))",
        BODY + "\n```\n\nThis function returns the n-th number.",  # closes the fence of its training data
        "\n    '''Return it.'''\n    return n",
        "\n    pass",
        "\n    ...",
        WHOLE,  # repeats the function, as chat answers do
        f"```python\n{WHOLE}\n```",
        f"Here is the function:\n\n```python\n{WHOLE}\n```\n\nIt's recursive.",
        f"Here is the function:\n\n{WHOLE}\n\nIt is recursive",
        f"```python{BODY}\n```",  # the body only, in a fence
        f"```\n{WHOLE}",  # a fence that was not closed
        f"```python\nimport functools\n\n{WHOLE}\n```",
    ],
)
def test_python_that_parses_is_accepted(output):
    assert verdict(STUB, output) == "pass"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("\n    return ](", "does not parse"),
        ("\n    if n < 2 return", "does not parse"),
        ("\n    return n > 1 and all((", "does not parse"),
        ("", "no code was written"),
        (" \n", "no code was written"),
        ("# nothing", "does not parse"),
        ("Hello", "no code was written"),
        ("4", "no code was written"),
        ("\n-1", "does not parse"),
        ("This function computes Fibonacci numbers.", "does not parse"),
        ("```python\ndef fibonacci(n)\n    return n\n```", "does not parse"),
        ("```python\nx =\n```", "does not parse"),
        ("\n    return n\x00", "does not parse"),
    ],
)
def test_what_is_no_python_is_refused(output, reason):
    judgement = judge_code_syntax(STUB, output)
    assert judgement.verdict == "fail"
    assert reason in judgement.reason


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (BODY, "pass"),
        ("\n    if n < 2:\n        return n\n    retur", "pass"),
        ("\n    if n < 2:\n        return n\n    x = 'ab", "pass"),  # the last line is dropped
        ("\n    if n < 2:\n        return n\n    return fibonacci(n -", "pass"),
        ("\n    x = [\n        1,\n        2", "pass"),  # open brackets
        ("\n    '''A long\n    docstring that", "pass"),
        ("\n    if n < 2:\n        ret", "pass"),
        ("\n    if n < 2 return\n    x = 1\n    y =", "fail"),  # an error in front of the last line
        ("\n    return ]\n    x = 1\n    y =", "fail"),
        ("\n    if n < 2 return", "skip"),  # one line, and it may be the limit's fault
        (" return n if", "skip"),
        (f"```python\n{WHOLE}\n\ndef g(", "pass"),
        ("```python\ndef fibonacci(n)\n    return n\n    x = ", "fail"),
    ],
)
def test_only_the_last_line_may_be_cut_by_the_token_limit(output, expected):
    assert verdict(STUB, output, truncated=True) == expected


def test_without_the_token_limit_an_unfinished_line_is_refused():
    assert verdict(STUB, "\n    if n < 2:\n        return n\n    x = (", truncated=False) == "fail"


@pytest.mark.parametrize(
    ("output", "truncated", "expected"),
    [
        ('\n    println!("Hello");\n}', False, "pass"),
        ('\n    println!("Hello"]);\n}', False, "fail"),
        ('\n    println!("Hello");', False, "fail"),
        ('\n    println!("Hello");', True, "skip"),
        ('\n    println!("Hello");\n    println!("wor', True, "pass"),
        ('\n    println!("Hello"]);\n    println!("wor', True, "fail"),
        ("Hello there", False, "fail"),
        ("Hello there\nand there\nand", True, "fail"),
        ('```rust\nfn main() {\n    println!("(");\n}\n```', False, "pass"),
        ('```rust\nfn main() {\n    println!("(")]\n}\n```', False, "fail"),
        ("fn main() {}\n}", False, "pass"),  # a nested function: the completion closes
        ("", False, "fail"),
    ],
)
def test_other_languages_must_balance(output, truncated, expected):
    assert verdict("fn main() {", output, truncated=truncated) == expected


@pytest.mark.parametrize(
    ("prompt", "languages", "judged"),
    [
        (STUB, None, True),
        (STUB, [], True),
        (STUB, ["python"], True),
        (STUB, ["Python3"], True),
        (STUB, ["rust"], False),
        ("fn main() {", ["rust"], True),
        ("fn main() {", ["rs"], True),
        ("fn main() {", ["python"], False),
        ("function f() {", ["javascript"], True),
        ("function f() {", ["typescript"], True),
        ("class Foo {", ["java"], True),
        ("class Foo {", ["python"], False),
        ("Hello!", None, False),
    ],
)
def test_only_listed_languages_are_judged(prompt, languages, judged):
    body = BODY if prompt == STUB else "\n  f();\n}"
    assert (verdict(prompt, body, languages=languages) == "pass") is judged
    assert (verdict(prompt, body, languages=languages) == "skip") is not judged


QUESTION = "What is wrong here?\n```python\ndef f(n)\n    return n\n```"


def test_a_question_about_code_is_judged_by_the_fenced_code_of_the_answer():
    assert verdict(QUESTION, "A colon is missing.") == "skip"
    assert verdict(QUESTION, "A colon:\n```python\ndef f(n):\n    return n\n```") == "pass"
    assert verdict(QUESTION, "A colon:\n```python\ndef f(n)\n    return n\n```") == "fail"
    assert verdict(QUESTION, "") == "fail"


def test_code_nested_without_end_is_refused_not_a_crash():
    assert verdict(STUB, "\n    return " + "(" * 5000 + ")" * 5000) == "fail"
    assert verdict(STUB, "\n    return " + "-" * 20_000 + "1") in ("pass", "fail")


@given(st.text(max_size=200), st.sampled_from([STUB, "fn main() {", "class Foo {", QUESTION]), st.booleans())
def test_any_output_is_judged_without_error(output, prompt, truncated):
    assert verdict(prompt, output, truncated=truncated) in ("pass", "fail", "skip")


@given(st.integers(0, len(BODY)))
def test_right_code_cut_anywhere_is_never_refused(length):
    cut = BODY[:length]
    if cut.strip():
        assert verdict(STUB, cut, truncated=True) in ("pass", "skip")
