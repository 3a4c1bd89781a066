"""The arithmetic oracle: the result of the prompt's first `number op number` must stand in the output as a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "arithmetic"
TOLERANCE = 0.01
_NUMBER = r"\d{1,30}(?:\.\d{1,30})?"
_EXPRESSION = re.compile(rf"(?<![\w.])(-?{_NUMBER})\s*([-+*/x×÷])\s*({_NUMBER})(?![\w.]*\w)")
_TOKEN = re.compile(rf"(?<![\w.])-?{_NUMBER}(?!\w|\.\d)")
MINUS = str.maketrans({"\u2212": "-", "\u2013": "-"})


def expected_result(prompt: str) -> Decimal | None:
    """Result of the first expression of a prompt; None without one, or for a division by zero."""
    match = _EXPRESSION.search(prompt.translate(MINUS))
    if match is None:
        return None
    left, operation, right = Decimal(match[1]), match[2], Decimal(match[3])
    try:
        return {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "x": lambda: left * right,
            "×": lambda: left * right,
            "/": lambda: left / right,
            "÷": lambda: left / right,
        }[operation]()
    except (InvalidOperation, ZeroDivisionError, ArithmeticError):
        return None


def judge_arithmetic(
    prompt: str, output: str, *, tolerance: float = TOLERANCE, answers: Mapping[str, str] | None = None
) -> Judgement:
    """Skip when nothing is to be computed; `answers` declares results of word problems by prompt.

    Whole results must be met exactly, others within `tolerance`.
    """
    declared = (answers or {}).get(prompt)
    if declared is not None:
        wanted = _decimal(str(declared))
        if wanted is None:
            found = str(declared).casefold() in output.casefold()
            return _verdict(found, str(declared), output)
    else:
        wanted = expected_result(prompt)
        if wanted is None:
            return Judgement(ORACLE, SKIP, "no arithmetic in the prompt")
    numbers = [n for t in _TOKEN.findall(output.translate(MINUS)) if (n := _decimal(t)) is not None]
    numbers += [n for t in re.findall(r"\d{1,3}(?:,\d{3})+", output) if (n := _decimal(t.replace(",", ""))) is not None]
    exact = wanted == wanted.to_integral_value()
    limit = Decimal(0) if exact else Decimal(str(tolerance))
    return _verdict(any(abs(n - wanted) <= limit for n in numbers), _text(wanted), output)


def _verdict(found: bool, wanted: str, output: str) -> Judgement:
    if found:
        return Judgement(ORACLE, PASS, f"the output has {wanted}")
    return Judgement(ORACLE, FAIL, f"expected {wanted}, found {output.strip()[:60]!r}")


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _text(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
