"""The response oracle: is a longer answer about the question at all."""

from __future__ import annotations

import re

from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "response"
MIN_RELEVANCE = 0.2
# A short answer need not repeat the question ("Red, green, blue." to "List 3 colors"): overlap says nothing about it.
OVERLAP_FROM_WORDS = 12
_WORD = re.compile(r"[^\W\d_]{2,}")
STOP_WORDS = frozenset(
    "a an and are as at be by can do does for from give have how i if in is it let list me my of on or say tell that the"
    " their then this three to was we what when where which who why will with write you your explain calculate".split()
)


def content_words(text: str) -> set[str]:
    """Words of at least two letters that carry content, in lower case and without a plural s."""
    words = (w.casefold() for w in _WORD.findall(text))
    return {w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words if w not in STOP_WORDS}


def judge_response(prompt: str, output: str, *, min_relevance: float = MIN_RELEVANCE, **ignored: object) -> Judgement:
    """Fail: no letter or digit, the prompt echoed, or a longer answer that shares too few content words.

    Skip when the prompt has fewer than two content words and nothing else is wrong.
    """
    text = output.strip()
    if not any(c.isalnum() for c in text):
        return Judgement(ORACLE, FAIL, "the answer has no letter and no digit")
    if text.casefold() == prompt.strip().casefold():
        return Judgement(ORACLE, FAIL, "the answer repeats the prompt and adds nothing")
    asked, said = content_words(prompt), content_words(text)
    if len(asked) < 2:
        return Judgement(ORACLE, SKIP, "the prompt has fewer than two content words")
    if len(text.split()) < OVERLAP_FROM_WORDS:
        return Judgement(ORACLE, PASS, "a short answer")
    share = len(asked & said) / len(asked)
    if share < min_relevance:
        return Judgement(ORACLE, FAIL, f"relevance {share:.2f}, limit {min_relevance}")
    return Judgement(ORACLE, PASS, f"relevance {share:.2f}")
