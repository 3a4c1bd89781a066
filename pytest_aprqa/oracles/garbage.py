"""The garbage oracle: empty, control characters, NaN, repetition, no information, mixed-script soup (gates.md 8)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter

from pytest_aprqa.oracles.judgement import FAIL, PASS, Judgement
from pytest_aprqa.oracles.text_cleaning import without_colours

ORACLE = "garbage"
MAX_REPETITION_RATIO = 0.3  # most frequent token / tokens
MIN_UNIQUE_CHARS = 10
MIN_ENTROPY_BITS = 1.0  # Shannon entropy of the characters
# Statistics of a text say something from this length on; "4" and "Paris" are answers.
STATISTICS_FROM_CHARS = 20
STATISTICS_FROM_TOKENS = 5
SOUP_SHARE = 0.3  # of words that mix case or scripts inside
SOUP_FROM_WORDS = 3
LONGEST_PERIOD = 20
MIN_COPIES = 3
MIN_COVERAGE_PERCENT = 70
_NOT_A_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:nan|inf|infinity)(?!\w)", re.IGNORECASE)
_WORD = re.compile(r"\w+", re.UNICODE)


def judge_garbage(
    output: str, *, max_repetition_ratio: float = MAX_REPETITION_RATIO, min_unique_chars: int = MIN_UNIQUE_CHARS
) -> Judgement:
    """Pass unless the output is garbage; the reason names the first sign."""
    reason = garbage_reason(
        without_colours(output), max_repetition_ratio=max_repetition_ratio, min_unique_chars=min_unique_chars
    )
    return Judgement(ORACLE, FAIL, reason) if reason else Judgement(ORACLE, PASS, "no sign of garbage")


def garbage_reason(text: str, *, max_repetition_ratio: float, min_unique_chars: int) -> str | None:
    """The first sign of garbage, or None."""
    if not text.strip():
        return "Output is empty"
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t\r" for c in text):
        return "Output contains control characters"
    if "\ufffd" in text:
        return "Output contains replacement characters"
    if _NOT_A_NUMBER.search(text):
        return "Output contains NaN or Inf"
    if not any(c.isalnum() for c in text):
        return "Output has no letter and no digit"
    if is_repetitive(text):
        return "Output is highly repetitive"
    return _statistics(text, max_repetition_ratio, min_unique_chars) or _soup(text)


def _statistics(text: str, max_repetition_ratio: float, min_unique_chars: int) -> str | None:
    tokens = text.split()
    if len(text) < STATISTICS_FROM_CHARS or len(tokens) < STATISTICS_FROM_TOKENS:
        return None
    unique = len(set(text))
    if unique < min_unique_chars:
        return f"Output has {unique} different characters, limit {min_unique_chars}"
    word, count = Counter(tokens).most_common(1)[0]
    if count / len(tokens) > max_repetition_ratio:
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


def is_repetitive(text: str) -> bool:
    """Copies of one short period in the whole text or a long word, or one word (or pair of words) again and again."""
    if len(set(text)) == 1 and len(text) >= 2 * MIN_COPIES:
        return True
    if _periodic(text.encode()) or any(len(w.encode()) >= 6 and _periodic(w.encode()) for w in text.split()):
        return True
    words = text.split()
    if len(words) >= 5 and len(set(words)) == 1:
        return True
    if len(words) < 6:
        return False
    pairs = [tuple(words[i : i + 2]) for i in range(0, len(words) - 1, 2)]
    # The ancestor asked for half of the pairs, rounded down: one of three, so that any six words were garbage.
    return pairs.count(pairs[0]) >= max(MIN_COPIES, math.ceil(len(pairs) * MIN_COVERAGE_PERCENT / 100))


def _periodic(data: bytes) -> bool:
    length = len(data)
    for period in range(1, min(LONGEST_PERIOD, length // MIN_COPIES) + 1):
        if period == 1 and length < 2 * MIN_COPIES:
            continue
        first, copies = data[:period], 1
        while data[copies * period : (copies + 1) * period] == first:
            copies += 1
        if copies >= MIN_COPIES and copies * period * 100 // length >= MIN_COVERAGE_PERCENT:
            return True
    return False


def _soup(text: str) -> str | None:
    words = [w for w in _WORD.findall(text) if sum(c.isalpha() for c in w) >= 4]
    if len(words) < SOUP_FROM_WORDS:
        return None
    mixed = [w for w in words if _mixes(w)]
    if len(mixed) / len(words) <= SOUP_SHARE:
        return None
    return f"Output mixes case or scripts inside {len(mixed)} of {len(words)} words, such as {mixed[0][:20]!r}"


def _mixes(word: str) -> bool:
    letters = [c for c in word if c.isalpha()]
    scripts = {unicodedata.name(c, "?").split()[0] for c in letters}
    if len(scripts) > 1:
        return True
    inner = "".join(letters)
    changes = sum(a.islower() and b.isupper() for a, b in zip(inner, inner[1:], strict=False))
    return changes >= 1 and not inner.isupper() and "_" not in word
