"""The code oracle: Python must parse; in other languages brackets and quotes must balance."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "code_syntax"
_FENCE = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = re.compile(r"^\s*(?:async def |def |class \w+[:(])")
_OTHER = re.compile(r"^\s*(?:(?:pub )?fn |(?:async )?function\b|class \w+ *\{)")
LONGEST = 100_000  # characters that are parsed
PAIRS = {")": "(", "]": "[", "}": "{"}


def language_of(prompt: str) -> str | None:
    """`python`, `other`, or None when the prompt is not the beginning of code."""
    if _OTHER.match(prompt):
        return "other"
    return "python" if _PYTHON.match(prompt) or "```" in prompt else None


def judge_code_syntax(
    prompt: str, output: str, *, truncated: bool = False, languages: Sequence[str] | None = None
) -> Judgement:
    """Skip when the prompt is no code. A completion is judged with its prompt, a chat answer alone (fences taken off).

    `truncated` (the token limit was reached): the last, unfinished line is left out, open brackets are allowed.
    """
    language = language_of(prompt)
    if language is None or (language == "python" and languages and "python" not in [x.lower() for x in languages]):
        return Judgement(ORACLE, SKIP, "the prompt is not code")
    fenced = _FENCE.search(output)
    alone = fenced[1] if fenced else output
    texts = [prompt + output, alone][:: -1 if fenced else 1]
    problems = []
    for text in texts:
        problem = _problem(text[:LONGEST], language, truncated, output)
        if problem is None:
            return Judgement(ORACLE, PASS, f"{language} syntax holds")
        problems.append(problem)
    return Judgement(ORACLE, FAIL, problems[0])


def _problem(text: str, language: str, truncated: bool, output: str) -> str | None:
    if not output.strip():
        return "no code was written"
    if language == "other":
        return unbalanced(text, allow_open=truncated)
    problem = _python_problem(text)
    lines = text.split("\n")
    while problem is not None and truncated and len(lines) > 2:
        # Only what the token limit cut off may go: the end of the text, line by line.
        lines.pop()
        problem = _python_problem("\n".join(lines))
    return problem


def _python_problem(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return f"Python does not parse: {error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"Python does not parse: {type(error).__name__}"
    return None


def unbalanced(text: str, *, allow_open: bool = False) -> str | None:
    """The first bracket or quote without its partner, or None."""
    stack: list[str] = []
    quote = ""
    escaped = False
    for character in text:
        if quote:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = ""
            elif character == "\n" and quote != "`":
                return f"a text in {quote} is not closed"
        elif character in '"`':
            quote = character
        elif character in PAIRS.values():
            stack.append(character)
        elif character in PAIRS:
            if not stack or stack.pop() != PAIRS[character]:
                return f"{character} without its partner"
    if allow_open:
        return None
    if quote:
        return f"a text in {quote} is not closed"
    return f"{stack[-1]} is not closed" if stack else None
