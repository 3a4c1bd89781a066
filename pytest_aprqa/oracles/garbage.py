"""The garbage oracle: empty, unprintable, NaN, repetition, no information, token soup (gates.md 8, column [R])."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter

from pytest_aprqa.oracles.judgement import FAIL, PASS, Judgement
from pytest_aprqa.oracles.repetition import is_repetitive
from pytest_aprqa.oracles.text_cleaning import cleaned
from pytest_aprqa.oracles.token_soup import soup_reason

ORACLE = "garbage"
MAX_REPETITION_RATIO = 0.3  # most frequent word / tokens
MIN_UNIQUE_CHARS = 10
MIN_ENTROPY_BITS = 1.0  # Shannon entropy of the characters
# Statistics of a text say something from this length on; "4" and "Paris" are answers.
STATISTICS_FROM_CHARS = 20
STATISTICS_FROM_TOKENS = 5
REPLACEMENT = "\ufffd"
LONGEST_CUT_CHARACTER = 3  # replacement characters that a token limit inside one character can leave
# As whole words: neither "information" nor "infinity", neither math.inf nor float('inf').
_NOT_A_NUMBER = re.compile(r"(?<![\w.'\"`+-])(?:[-+]?(?:NaN|nan|NAN|Inf|inf|INF)|[-+][Ii]nfinity)(?![\w'\"`])")


def judge_garbage(
    output: str,
    *,
    max_repetition_ratio: float = MAX_REPETITION_RATIO,
    min_unique_chars: int = MIN_UNIQUE_CHARS,
    truncated: bool = False,
) -> Judgement:
    """Pass unless the output is garbage; the reason names the first sign. It always looks, it never skips.

    `truncated` (the token limit ended the output): a last character that is cut in the middle is no sign.
    """
    text = cleaned(output)
    if truncated and text.endswith(REPLACEMENT):
        whole = text.rstrip(REPLACEMENT)
        text = whole if len(text) - len(whole) <= LONGEST_CUT_CHARACTER else text
    reason = _unprintable(text) or _statistics(text, max_repetition_ratio, min_unique_chars) or soup_reason(text)
    return Judgement(ORACLE, FAIL, reason) if reason else Judgement(ORACLE, PASS, "no sign of garbage")


def _unprintable(text: str) -> str | None:
    if not text.strip():
        return "Output is empty"
    categories = {unicodedata.category(c) for c in text if c not in "\n\t\r"}
    if "Cc" in categories:
        return "Output contains control characters"
    if _NOT_A_NUMBER.search(text):
        return "Output contains NaN or Inf"
    if REPLACEMENT in text:
        return "Output contains replacement characters"
    if categories & {"Co", "Cs"}:
        return "Output contains characters without a meaning (private use or half a pair)"
    if not any(c.isalnum() for c in text):
        return "Output has no letter and no digit"
    return "Output is highly repetitive" if is_repetitive(text) else None


def _statistics(text: str, max_repetition_ratio: float, min_unique_chars: int) -> str | None:
    tokens = text.split()
    if len(text) < STATISTICS_FROM_CHARS or len(tokens) < STATISTICS_FROM_TOKENS:
        return None
    # Bullets, operators and numbers may come again and again between words: they are counted only without words.
    words = [t for t in tokens if any(c.isalpha() for c in t)]
    unique = len(set(text))
    if words and unique < min_unique_chars:  # a list of numbers has no more than the digits
        return f"Output has {unique} different characters, limit {min_unique_chars}"
    word, count = Counter(words or tokens).most_common(1)[0]
    if count > max_repetition_ratio * len(tokens):
        share = count / len(tokens)
        return f"Output repeats {word[:20]!r} in {share:.0%} of its tokens, limit {max_repetition_ratio:.0%}"
    bits = entropy(text)
    if bits < MIN_ENTROPY_BITS:
        return f"Output has {bits:.2f} bits of entropy a character, limit {MIN_ENTROPY_BITS}"
    return None


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if total else 0.0
