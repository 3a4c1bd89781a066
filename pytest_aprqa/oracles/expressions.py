"""Finds the first calculation in a prompt and works it out exactly: precedence, brackets, decimals, thousands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, DecimalException

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,30})(?:\.\d{1,30})?"
MINUS = str.maketrans({"\u2212": "-", "\u2013": "-"})
_OPERATOR = r"[-+*/x×÷]"
# Atomic, so that what follows is compared with the whole of it: 2+3*4x must not be read as 2+3.
_EXPRESSION = re.compile(
    rf"(?<![\w.,^!%])(?>-?(?:\(\s*)*-?{NUMBER}(?:\s*\))*(?:\s*{_OPERATOR}\s*(?:\(\s*)*-?{NUMBER}(?:\s*\))*)+)"
)
_PIECE = re.compile(rf"\s*({NUMBER}|{_OPERATOR}|[()])")
# The result is asked for something else: a unit, a power, a percentage, a further operation in words.
_GOES_ON = re.compile(
    r"\w|\.\d|,\d|\s*(?:\^|\*\*|%|!)|\s*(?:times|plus|minus|multiplied|divided|squared|cubed|percent|mod)\b",
    re.IGNORECASE,
)
_IS_ARGUMENT = re.compile(r"(?:\w\(|\b(?:times|plus|minus|by)\s|(?<!value)(?<!result)\sof\s)\s*\Z", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:what(?:.s| is| are)|calculate|compute|evaluate|solve|simplify|how much is|value of|result of)\s*:?\s*\Z",
    re.IGNORECASE,
)
_AMBIGUOUS = re.compile(r"\S[-/x]\S")  # 1914-1918, 24/7, 1920x1080


@dataclass(frozen=True, slots=True)
class Calculation:
    """The text of an expression as the prompt has it, and its exact result (28 digits)."""

    text: str
    result: Decimal


def first_calculation(prompt: str) -> Calculation | None:
    """The first `number operator number ...` that is meant as a calculation; None without one.

    Years (1914-1918), ratios (24/7) and sizes (1920x1080) count only where the prompt asks for a result.
    """
    prompt = prompt.translate(MINUS)
    for match in _EXPRESSION.finditer(prompt):
        before, after = prompt[: match.start()], prompt[match.end() :]
        text = _without_open_brackets(match[0].strip())
        if _GOES_ON.match(after) or _IS_ARGUMENT.search(before) or not _is_meant(text, before, after):
            continue
        try:
            return Calculation(text, evaluate(text))
        except (ArithmeticError, DecimalException, ValueError, IndexError):
            continue
    return None


def _is_meant(text: str, before: str, after: str) -> bool:
    if any(c in text for c in "+*×÷") or not _AMBIGUOUS.search(text):
        return True
    return not before.strip() or _ASKS.search(before) is not None or after.lstrip().startswith("=")


def _without_open_brackets(text: str) -> str:
    """`(what is 2+3)` gives `2+3)`: brackets of the sentence, not of the expression."""
    while text.count(")") > text.count("(") and text.endswith(")"):
        text = text[:-1].rstrip()
    while text.count("(") > text.count(")") and text.startswith("("):
        text = text[1:].lstrip()
    return text


def evaluate(text: str) -> Decimal:
    """Value of an expression. ValueError or IndexError: not one; ArithmeticError: division by zero."""
    pieces = [piece.replace(",", "") for piece in _PIECE.findall(text)]
    value = _sum(pieces)
    if pieces:
        raise ValueError(f"not an expression: {text}")
    return value


# Each takes its pieces off the front of the list.


def _sum(pieces: list[str]) -> Decimal:
    value = _product(pieces)
    while pieces and pieces[0] in "+-":
        sign = 1 if pieces.pop(0) == "+" else -1
        value += sign * _product(pieces)
    return value


def _product(pieces: list[str]) -> Decimal:
    value = _factor(pieces)
    while pieces and pieces[0] in "*x×/÷":
        if pieces.pop(0) in "/÷":
            value /= _factor(pieces)
        else:
            value *= _factor(pieces)
    return value


def _factor(pieces: list[str]) -> Decimal:
    piece = pieces.pop(0)
    if piece == "-":
        return -_factor(pieces)
    if piece != "(":
        return Decimal(piece)
    value = _sum(pieces)
    if pieces.pop(0) != ")":
        raise ValueError("bracket not closed")
    return value
