import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.oracles.brackets import unbalanced


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fn main() { let v = [1, (2)]; }",
        'let s = "a ) b";',
        'let s = "a \\" ) b";',
        "let s = `a\n) b`;",
        "// don't ( worry\nf()",
        "/* ( [ { ' \" */ f()",
        "f() // http://example.org/(",
        "const c = 'it\"s (';",
    ],
)
def test_balanced_text_has_no_problem(text):
    assert unbalanced(text, language="javascript") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("f(", "( is not closed"),
        ("f)", ") without its partner"),
        ("f(]", "] without its partner"),
        ("{[}", "} without its partner"),
        ('let s = "a', 'a text in " is not closed'),
        ('let s = "a\nb";', 'a text in " is not closed'),
        ("let s = `a", "a text in ` is not closed"),
    ],
)
def test_the_first_problem_is_named(text, problem):
    assert unbalanced(text, language="javascript") == problem


@pytest.mark.parametrize(
    "text",
    [
        "fn f<'a>(x: &'a str, y: &'a str) -> &'a str { x }",
        "let c = '('; f(c)",
        "let c = '\"'; f(c)",
        "let c = '\\''; let d = '\\u{28}'; f(c)",
        'let s = "over\ntwo lines";',
    ],
)
def test_rust_has_lifetimes_characters_and_texts_over_lines(text):
    assert unbalanced(text, language="rust") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fn f() { g(", None),
        ('fn f() { g("half', None),
        ("fn f() { /* half", None),
        ("fn f() { g)", ") without its partner"),
        ("fn f() ]", "] without its partner"),
    ],
)
def test_text_that_was_cut_may_stay_open_but_not_close_what_was_never_open(text, problem):
    assert unbalanced(text, language="rust", allow_open=True) == problem


@given(st.text(alphabet="(){}[]'\"`\\/*\n ab", max_size=60), st.sampled_from(["rust", "javascript", "other"]))
def test_any_text_is_read_and_cutting_is_never_stricter(text, language):
    if unbalanced(text, language=language) is None:
        assert unbalanced(text, language=language, allow_open=True) is None
