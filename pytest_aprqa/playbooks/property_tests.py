"""The entries of `property_tests`: a generator of prompts, as a Hypothesis strategy, and an oracle by its expression.

The forms are those of the specification (playbook.md 2.5); another form is refused with the known ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.playbooks.errors import PlaybookError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SMALLEST, LARGEST = 1, 99  # operands without a declared range
INTEGERS = {"i8": (-(2**7), 2**7 - 1), "i16": (-(2**15), 2**15 - 1), "i32": (-(2**31), 2**31 - 1), "u8": (0, 255)}
DEFAULT_GENERATOR, DEFAULT_ORACLE = "any_prompt()", "configured"
DEFAULT_SHRINKS = 1000
LANGUAGES = {
    "python": ("def {0}_{1}(values):", "class {2}:", "def {0}_{1}(left, right):\n    "),
    "rust": ("fn {0}_{1}(value: i32) -> i32 {{", "fn {0}_{1}(left: u64, right: u64) -> bool {{"),
    "javascript": ("function {0}{2}(values) {{", "async function {0}{2}() {{"),
}
GENERATORS = ("arithmetic", "code_prompt", "qa_prompt", "chat_prompt", "any_prompt")
#: expression (without spaces) -> the oracle that it means
ORACLES: dict[str, str] = {
    "correct": "arithmetic",
    "correct_answer": "arithmetic",
    "output.contains(expected)": "arithmetic",
    "eval(aopb)==parse_int(output)": "arithmetic",
    "valid_syntax": "code_syntax",
    "is_valid_syntax(output,lang)": "code_syntax",
    "is_coherent(output)": "coherent",
    "coherent_response": "coherent",
    "output.len()>0": "not_empty",
    "!is_garbage(output)": "not_garbage",
    "run(seed)==run(seed)": "repeats",
    DEFAULT_ORACLE: DEFAULT_ORACLE,
}
_VERBS = ("count", "merge", "reverse", "filter", "sort", "parse", "invert", "split")
_NOUNS = ("river", "planet", "bridge", "matrix", "garden", "engine", "violin", "harbour")
_QUESTIONS = ("What is a {0}?", "Explain in one sentence what a {0} is.", "How does a {0} differ from a {1}?")
_TALK = ("Hello!", "Tell me about a {0}.", "Give me a title for a story about a {0} and a {1}.", "Thanks, and a {0}?")
_CALL = re.compile(r"\s*([a-z_]+)\s*\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PropertyTest:
    """One property: `count` prompts of `generator` hold before `oracle`. `chat`: asked through the template."""

    name: str
    generator: str
    oracle: str
    count: int
    shrinks: int = DEFAULT_SHRINKS

    @property
    def chat(self) -> bool:
        """Whether the generator makes turns of a conversation."""
        return self.generator.strip().startswith("chat_prompt")


def property_tests(block: Any) -> list[PropertyTest]:
    """The block in either form; as a mapping it is one property: any prompt, judged by the playbook's own oracles."""
    if isinstance(block, Mapping):
        cases, shrinks = int(block.get("cases", 100)), int(block.get("max_shrink_iters", DEFAULT_SHRINKS))
        return [PropertyTest("any prompt", DEFAULT_GENERATOR, DEFAULT_ORACLE, cases, shrinks)]
    return [PropertyTest(e["name"], e["generator"], e["oracle"], int(e.get("count", 100))) for e in block or ()]


def oracle_of(expression: str) -> str:
    """The oracle that an expression means. PlaybookError: none does."""
    found = ORACLES.get("".join(expression.split()))
    if found is None:
        raise PlaybookError("property_tests.oracle", f"`{expression}` has no meaning", advice=f"use {_list(ORACLES)}")
    return found


def strategy_of(generator: str) -> SearchStrategy[str]:
    """Prompts of a generator. PlaybookError: an unknown generator, argument or value, or Hypothesis is not there."""
    try:
        from hypothesis import strategies as st
    except ImportError:
        raise PlaybookError(
            "Hypothesis", "is not installed, and draws the prompts", advice="pip install 'pytest-aprqa[invariants]'"
        ) from None
    match = _CALL.fullmatch(generator)
    name = match[1] if match else ""
    if match is None or name not in GENERATORS:
        raise _refused(generator, f"use one of {_list(GENERATORS)} with its arguments, such as arithmetic(op: +|-)")
    arguments = _arguments(generator, match[2])
    if name == "arithmetic":
        return _calculations(generator, arguments)
    if name == "code_prompt":
        return _code(generator, arguments)
    if unknown := set(arguments) - ({"seed"} if name == "any_prompt" else set()):
        raise _refused(generator, f"it takes no {min(unknown)}")
    if name in ("qa_prompt", "chat_prompt"):
        forms = _QUESTIONS if name == "qa_prompt" else _TALK
        nouns = st.permutations(_NOUNS)
        return st.builds(lambda form, words: form.format(*words), st.sampled_from(forms), nouns)
    from pytest_aprqa.playbooks.prompt_strategies import prompts

    return prompts().map(lambda prompt: prompt.text)


def _calculations(generator: str, arguments: Mapping[str, str]) -> SearchStrategy[str]:
    from hypothesis import strategies as st

    if unknown := set(arguments) - {"a", "b", "op"}:
        raise _refused(generator, f"arithmetic takes a, b and op, not {min(unknown)}")
    left, right = (_integers(generator, arguments.get(name, "")) for name in ("a", "b"))
    signs = [sign.strip() for sign in arguments.get("op", "+|-|*").split("|")]
    if not set(signs) <= set("+-*"):
        raise _refused(generator, "op is one of + - *, or several joined by |")
    return st.builds(lambda a, sign, b: f"What is {a}{sign}{b}?", left, st.sampled_from(signs), right)


def _integers(generator: str, text: str) -> SearchStrategy[int]:
    from hypothesis import strategies as st

    if text in INTEGERS:
        return st.integers(*INTEGERS[text])
    match = re.fullmatch(r"(-?\d{1,18})\.\.(=?)(-?\d{1,18})", text.replace(" ", "")) if text else None
    low, high = (int(match[1]), int(match[3]) - (not match[2])) if match else (SMALLEST, LARGEST)
    if (text and match is None) or low > high:
        raise _refused(generator, f"{text!r} is no range of integers: use 1..10 (10 is not in it), 1..=10 or i32")
    return st.integers(low, high)


def _code(generator: str, arguments: Mapping[str, str]) -> SearchStrategy[str]:
    from hypothesis import strategies as st

    names = [name.strip() for name in arguments.get("lang", "python").split("|") if name.strip() not in ("…", "...")]
    unknown = [name for name in names if name not in LANGUAGES] + sorted(set(arguments) - {"lang"})
    if unknown or not names:
        raise _refused(generator, f"code_prompt takes lang, one of {_list(LANGUAGES)}, or several joined by |")
    forms = [form for name in names for form in LANGUAGES[name]]
    words = st.sampled_from(_VERBS), st.sampled_from(_NOUNS)
    return st.builds(
        lambda form, verb, noun: form.format(verb, noun, noun.title()), st.sampled_from(forms), *words
    )  # fmt: skip


def _arguments(generator: str, text: str) -> dict[str, str]:
    found = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, colon, value = piece.partition(":")
        if not colon:
            raise _refused(generator, f"{piece!r} is no argument; write NAME: VALUE")
        found[name.strip()] = value.strip()
    return found


def _refused(generator: str, advice: str) -> PlaybookError:
    return PlaybookError("property_tests.generator", f"`{generator}` has no meaning", advice=advice)


def _list(names: Any) -> str:
    return ", ".join(names)
