"""Is a text the same few bytes or words again and again (gates.md 8, without its false alarms)."""

from __future__ import annotations

import math
import re

LONGEST_PERIOD = 20  # bytes
MIN_COPIES = 3
MIN_COVERAGE_PERCENT = 70  # of the text, by the copies
SHORTEST_PERIODIC = 6  # bytes of a text or a word that can be called periodic
WORDS_ALL_EQUAL_FROM = 5
WORDS_IN_PAIRS_FROM = 6
# A calculation may well give 999999 or 101010; more digits than a float prints are no result.
LONGEST_NUMBER = 15
_NUMBER = re.compile(rf"[-+$*(]*(?=[\d,.]*\d)(?:\d[,.]?){{1,{LONGEST_NUMBER}}}[.,;:!?*)%]*")


def is_repetitive(text: str) -> bool:
    """Copies of one short period in the whole text or in a long word, or one word or pair of words again and again.

    Numbers of up to 15 digits and rulers (`-----`) are no repetition.
    """
    words = text.split()
    # One space in front belongs to the first token; blank lines and indentation in front are no part of a period.
    whole = " " * text[:1].isspace() + text.strip()
    if _is_periodic(whole) or any(_is_periodic(word) for word in words if any(c.isalnum() for c in word)):
        return True
    if len(words) >= WORDS_ALL_EQUAL_FROM and len(set(words)) == 1:
        return True
    if len(words) < WORDS_IN_PAIRS_FROM:
        return False
    pairs = [tuple(words[i : i + 2]) for i in range(0, len(words) - 1, 2)]
    # The ancestor asked for half of the pairs, rounded down: one of three, so that any six words were repetitive.
    return pairs.count(pairs[0]) >= max(MIN_COPIES, math.ceil(len(pairs) * MIN_COVERAGE_PERCENT / 100))


def _is_periodic(text: str) -> bool:
    data = text.encode("utf-8", "surrogatepass")
    length = len(data)
    if length < SHORTEST_PERIODIC or _NUMBER.fullmatch(text.strip()):
        return False
    for period in range(2, min(LONGEST_PERIOD, length // MIN_COPIES) + 1):
        first, copies = data[:period], 1
        while data[copies * period : (copies + 1) * period] == first:
            copies += 1
        if copies >= MIN_COPIES and copies * period * 100 // length >= MIN_COVERAGE_PERCENT:
            return True
    return False
