"""The code oracle: Python must parse; in other languages brackets and quotes must balance."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_aprqa.oracles.brackets import unbalanced
from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "code_syntax"
LONGEST = 100_000  # characters that are parsed
_ALLOW_INCOMPLETE_INPUT = 0x4000  # flag of compile(); the constant of the standard module codeop
PYTHON, RUST, JAVASCRIPT, OTHER = "python", "rust", "javascript", "other"
_BEGINNINGS = (
    (PYTHON, re.compile(r"\s*(?:async def |def |class \w+\s*[:(]|@\w)")),
    (RUST, re.compile(r"\s*(?:pub )?(?:async )?fn ")),
    (JAVASCRIPT, re.compile(r"\s*(?:export )?(?:async )?function\b")),
    (OTHER, re.compile(r"\s*(?:(?:export|public|abstract|final) )*class \w+[^\n:(]*\{")),
)
_ALIASES = {"py": PYTHON, "python3": PYTHON, "rs": RUST, "js": JAVASCRIPT, "typescript": JAVASCRIPT, "ts": JAVASCRIPT}
_FENCED = re.compile(r"^[ \t]*```([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_DEFINES = re.compile(r"^\s*(?:(?:export|public|pub|abstract|final|async) )*(?:def|class|fn|function)\b", re.MULTILINE)
_CODE_SIGN = re.compile(r"[(){}\[\];=]")


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read an answer: `begin` is the prompt or nothing, `answer` what the model wrote of the code."""

    begin: str
    answer: str


def language_of(prompt: str) -> str | None:
    """Language that the prompt begins in, by its first words; None when it is not the beginning of code."""
    return next((name for name, beginning in _BEGINNINGS if beginning.match(prompt)), None)


def judge_code_syntax(
    prompt: str, output: str, *, truncated: bool = False, languages: Sequence[str] | None = None
) -> Judgement:
    """Skip when the prompt is no code, or in none of `languages`; one reading of the answer that holds is enough.

    A completion is judged with its prompt, up to a closing fence. A chat answer, which repeats the function, is judged
    alone, inside its fences. A question about code between fences is judged by the fenced code of the answer, if any.
    `truncated` (the token limit was reached): the last line may be unfinished, and what is open may stay open.
    """
    language, readings = _readings(prompt, output)
    if language is None or not _is_listed(language, languages):
        return Judgement(ORACLE, SKIP, "the prompt is not code")
    if not output.strip():
        return Judgement(ORACLE, FAIL, "no code was written")
    if not readings:
        return Judgement(ORACLE, SKIP, "the answer has no code between fences")
    judgements = [_judge(reading, language, truncated) for reading in readings]
    for verdict in (PASS, SKIP):
        if found := next((j for j in judgements if j.verdict == verdict), None):
            return found
    return judgements[0]


def _is_listed(language: str, languages: Sequence[str] | None) -> bool:
    if not languages:
        return True
    listed = {_ALIASES.get(name.lower(), name.lower()) for name in languages}
    return language in listed or (language == OTHER and bool(listed - {PYTHON}))


def _readings(prompt: str, output: str) -> tuple[str | None, list[_Reading]]:
    """Language, and the ways to read the answer, the likeliest first."""
    fenced = [match[2] for match in _FENCED.finditer(output)]
    question = _FENCED.search(prompt)
    if question is not None:
        named = question[1].lower()
        return _ALIASES.get(named, named) or OTHER, [_Reading("", code) for code in fenced]
    language = language_of(prompt)
    completion = _Reading(prompt, _FENCE.split(output, maxsplit=1)[0])
    alone = [_Reading("", code) for code in [*fenced, _code_lines(output)] if _DEFINES.search(code)]
    bodies = [_Reading(f"{prompt}\n", code) for code in fenced]
    if fenced and not completion.answer.strip():
        return language, [*alone, *bodies]
    return language, [completion, *alone, *bodies]


def _code_lines(output: str) -> str:
    """The lines from the first definition to the first line of prose behind it."""
    lines = output.split("\n")
    first = next((n for n, line in enumerate(lines) if _DEFINES.match(line)), len(lines))
    last = first
    for number in range(first, len(lines)):
        if number > first and lines[number][:1].isalpha() and not _CODE_SIGN.search(lines[number]):
            break
        last = number + 1
    return "\n".join(lines[first:last])


def _judge(reading: _Reading, language: str, truncated: bool) -> Judgement:
    problem = _problem(reading, language, open_end=False)
    if problem is None:
        return Judgement(ORACLE, PASS, f"{language} syntax holds")
    if not truncated:
        return Judgement(ORACLE, FAIL, problem)
    # Only the last line may be unfinished; an error in front of it is the model's.
    finished = reading.answer.rpartition("\n")[0]
    if not finished.strip():
        return Judgement(ORACLE, SKIP, "the token limit cut its only line")
    problem = _problem(_Reading(reading.begin, finished), language, open_end=True)
    if problem is None:
        return Judgement(ORACLE, PASS, f"{language} syntax holds up to the token limit")
    return Judgement(ORACLE, FAIL, problem)


def _problem(reading: _Reading, language: str, *, open_end: bool) -> str | None:
    text = (reading.begin + reading.answer)[:LONGEST]
    if language == PYTHON:
        return _python_problem(text, open_end=open_end)
    if not _CODE_SIGN.search(reading.answer):
        return "no code was written"
    return unbalanced(text, language=language, allow_open=open_end)


def _python_problem(text: str, *, open_end: bool) -> str | None:
    flags = ast.PyCF_ONLY_AST | (_ALLOW_INCOMPLETE_INPUT if open_end else 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = compile(text, "<answer>", "exec", flags)
    except SyntaxError as error:
        if open_end and error.msg == "incomplete input":
            return None
        return f"Python does not parse: {error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"Python does not parse: {type(error).__name__}"
    return None if any(_is_code(node) for node in ast.walk(tree)) else "no code was written"


def _is_code(node: ast.AST) -> bool:
    """True for a statement that does something: not a definition by itself, not a word or a number."""
    if not isinstance(node, ast.stmt) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant | ast.UnaryOp)) or (
        isinstance(node.value, ast.Constant) and isinstance(node.value.value, str | type(...))
    )
