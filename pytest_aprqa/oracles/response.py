"""The response oracle: is a longer answer about the question at all."""

from __future__ import annotations

import re

from pytest_aprqa.oracles.code_syntax import language_of
from pytest_aprqa.oracles.garbage import judge_garbage
from pytest_aprqa.oracles.judgement import FAIL, PASS, SKIP, Judgement

ORACLE = "response"
MIN_RELEVANCE = 0.2  # share of the prompt's content words in the output
MIN_CONTENT_WORDS = 2  # of a prompt whose words are looked for
# A short answer need not repeat the question ("Red, green, blue." to "List 3 colors", a haiku about rain without the
# word): up to this many words, missing overlap says nothing about it.
OVERLAP_ABOVE_WORDS = 20
_WORD = re.compile(r"[^\W\d_]{2,}")
_PLAIN = re.compile(r"[^\W_]+")
STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "give", "have",
        "how", "i", "if", "in", "is", "it", "let", "list", "me", "my", "of", "on", "or", "say", "tell", "that",
        "the", "their", "then", "this", "three", "to", "was", "we", "what", "when", "where", "which", "who",
        "why", "will", "with", "write", "you", "your", "explain", "calculate",
    }
)  # fmt: skip


def content_words(text: str) -> set[str]:
    """Words of at least two letters that carry content, in lower case and without a plural s."""
    words = (w.casefold() for w in _WORD.findall(text))
    return {w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words if w not in STOP_WORDS}


def judge_response(
    prompt: str, output: str, *, min_relevance: float = MIN_RELEVANCE, check_coherence: bool = False
) -> Judgement:
    """The rule, and why: overlap of words can show that an answer is off the subject, but only of an answer with room.

    Fail: no letter or digit; the prompt repeated and nothing added; with `check_coherence` what the garbage oracle
    refuses; more than 20 words that share less than `min_relevance` of the prompt's content words (0 switches that
    off). Skip: the prompt begins code (its completion need not repeat a word of it), has fewer than two content words,
    or the answer is short, and nothing else is wrong: the oracle has not judged then, and does not say that it has.
    """
    said = [w.casefold() for w in _PLAIN.findall(output)]
    if not said:
        return Judgement(ORACLE, FAIL, "the answer has no letter and no digit")
    if said == [w.casefold() for w in _PLAIN.findall(prompt)]:
        return Judgement(ORACLE, FAIL, "the answer repeats the prompt and adds nothing")
    if check_coherence and (judged := judge_garbage(output)).verdict == FAIL:
        return Judgement(ORACLE, FAIL, f"incoherent: {judged.reason}")
    if language_of(prompt) is not None:
        return Judgement(ORACLE, SKIP, "the prompt is code")
    asked = content_words(prompt)
    if len(asked) < MIN_CONTENT_WORDS:
        return Judgement(ORACLE, SKIP, f"the prompt has fewer than {MIN_CONTENT_WORDS} content words")
    share = len(asked & content_words(output)) / len(asked)
    if share >= min_relevance:
        return Judgement(ORACLE, PASS, f"relevance {share:.2f}, limit {min_relevance}")
    if len(said) <= OVERLAP_ABOVE_WORDS:
        return Judgement(ORACLE, SKIP, f"an answer of {len(said)} words need not repeat the question")
    return Judgement(ORACLE, FAIL, f"relevance {share:.2f}, limit {min_relevance}")
