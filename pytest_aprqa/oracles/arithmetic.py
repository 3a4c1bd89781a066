"""The arithmetic oracle: the result of the prompt's calculation must stand in the output as a number of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from pytest_aprqa.oracles.expressions import MINUS, NUMBER, first_calculation
from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "arithmetic"
TOLERANCE = 0.01  # absolute, for results that are not whole
_TOKEN = re.compile(rf"(?<![\w.])(?<!\d,)-?{NUMBER}(?!\w|\.\d|,\d{{3}})")


def judge_arithmetic(
    prompt: str, output: str, *, tolerance: float = TOLERANCE, answers: Mapping[str, object] | None = None
) -> Judgement:
    """Skip when nothing is to be computed; `answers` declares results of word problems by prompt, and goes first.

    Whole results must be met exactly, others within `tolerance`. The question repeated is no answer to it: its
    calculation is taken out of the output before the number is looked for.
    """
    output = output.translate(MINUS)
    declared = (answers or {}).get(prompt)
    if declared is None:
        calculation = first_calculation(prompt)
        if calculation is None:
            return Judgement(ORACLE, SKIP, "no arithmetic in the prompt")
        return _verdict(calculation.result, _without(calculation.text, output), output, tolerance)
    said = output.replace(prompt.translate(MINUS), " ")
    wanted = _decimal(str(declared))
    if wanted is not None:
        return _verdict(wanted, said, output, tolerance)
    found = re.search(rf"(?<!\w){re.escape(str(declared))}(?!\w)", said, re.IGNORECASE) is not None
    return _judgement(found, str(declared), output)


def _without(expression: str, output: str) -> str:
    """The output without repetitions of the expression, however they are spaced."""
    spaced = r"\s*".join(re.escape(piece) for piece in re.findall(rf"{NUMBER}|\S", expression))
    return re.sub(rf"(?<![\w.]){spaced}(?!\w|\.\d)", " ", output)


def _verdict(wanted: Decimal, said: str, output: str, tolerance: float) -> Judgement:
    numbers = [n for token in _TOKEN.findall(said) if (n := _decimal(token.replace(",", ""))) is not None]
    limit = Decimal(0) if wanted == wanted.to_integral_value() else Decimal(str(tolerance))
    return _judgement(any(abs(n - wanted) <= limit for n in numbers), _text(wanted), output)


def _judgement(found: bool, wanted: str, output: str) -> Judgement:
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
