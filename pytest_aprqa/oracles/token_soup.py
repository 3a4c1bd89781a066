"""Signs of tokens glued together at random: `olumbia+lsi nunca/localENTS`, two alphabets in a word, BPE marks."""

from __future__ import annotations

import itertools
import re
import unicodedata

SOUP_SHARE = 0.3  # of the words, that mix case or alphabets inside
SOUP_FROM_WORDS = 3
LETTERS_OF_A_WORD = 4
CAPITALS_AT_THE_END = 3  # of a word that begins small: localENTS; JavaScript, macOS and PostgreSQL are names
LETTERS_OF_A_HUMP = 3  # on average, with three humps or more: getElementById has them, aBcDeF has not
MARKS_FROM = 3
# Alphabets whose words are set apart by spaces. Chinese, Japanese, Korean and Thai text stands beside Latin words
# without one, so that says nothing.
ALPHABETS = frozenset(
    {
        "LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "GURMUKHI",
        "GUJARATI", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "ETHIOPIC",
    }
)  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_MARK = re.compile(r"[ĠĊ▁]|<0x[0-9A-Fa-f]{2}>")


def soup_reason(text: str) -> str | None:
    """Why the text is token soup, or None. Code between backticks is not looked at."""
    marks = _MARK.findall(text)
    if len(marks) >= MARKS_FROM and len(marks) >= sum(c.isspace() for c in text):
        return f"Output has {len(marks)} token marks that were not decoded, such as {marks[0]!r}"
    words = [w for w in _WORD.findall(_CODE.sub(" ", text)) if sum(c.isalpha() for c in w) >= LETTERS_OF_A_WORD]
    mixed = [w for w in words if _mixes_alphabets(w) or _mixes_case(w)]
    if len(words) < SOUP_FROM_WORDS or len(mixed) <= SOUP_SHARE * len(words):
        return None
    return f"Output mixes case or alphabets inside {len(mixed)} of {len(words)} words, such as {mixed[0][:20]!r}"


def _mixes_alphabets(word: str) -> bool:
    found = {unicodedata.name(c, "?").split()[0] for c in word if c.isalpha() and c not in "ªºµ"}
    return len(found & ALPHABETS) > 1


def _mixes_case(word: str) -> bool:
    letters = "".join(c for c in word if c.isalpha())
    begin = letters.rstrip("".join(c for c in set(letters) if c.isupper()))
    if letters[:1].islower() and begin[-1:].islower() and len(letters) - len(begin) >= CAPITALS_AT_THE_END:
        return True
    humps = 1 + sum(a.islower() and b.isupper() for a, b in itertools.pairwise(letters))
    return humps > 2 and len(letters) < LETTERS_OF_A_HUMP * humps
