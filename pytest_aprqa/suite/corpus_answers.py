"""One golden prompt asked of an artifact: the same prompt ids, the same best tokens, logits within the level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.suite.corpus_parity import Level, LogitParity, compare

if TYPE_CHECKING:
    from pytest_aprqa.suite.golden_corpus import Golden

Encode = Callable[[str], Sequence[int]]
Logits = Callable[[Sequence[int]], Any]
NAMED = 6  # ids that a message shows


@dataclass(frozen=True, slots=True)
class PromptParity:
    """What came of one prompt; `problems` are sentences, empty where it agrees. `logits` None: not compared."""

    prompt: str
    logits: LogitParity | None
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True when ids, tokens and logits agree."""
        return not self.problems


def ask(golden: Golden, encode: Encode, logits: Logits, level: Level) -> PromptParity:
    """`encode`: text to ids by the artifact's tokenizer; `logits`: ids to float32 (ids, vocabulary). Engine errors."""
    ids = list(encode(golden.prompt))
    if golden.prompt_ids is not None and ids != golden.prompt_ids:
        found, expected = ids[:NAMED], golden.prompt_ids[:NAMED]
        problem = f"prompt ids {found} ({len(ids)}), {expected} ({len(golden.prompt_ids)}) in the corpus"
        return PromptParity(golden.prompt, None, (problem,))
    rows, width = golden.logits.shape
    ids += (golden.generated_ids or [])[: rows - 1] if golden.generated_ids is not None else []
    if len(ids) < rows:
        problem = f"{rows} rows of logits for {len(ids)} tokens: the corpus was made of another prompt"
        return PromptParity(golden.prompt, None, (problem,))
    found_logits = logits(ids)[-rows:, :width]
    result = compare(golden.logits, found_logits, level)
    problems = [] if result.passed else [str(result)]
    problems += _other_tokens(golden, found_logits, level)
    return PromptParity(golden.prompt, result, tuple(problems))


def _other_tokens(golden: Golden, found: Any, level: Level) -> list[str]:
    """Rows whose best token is another, where the corpus leads by more than two logits may move."""
    problems = []
    for row, (expected, mine) in enumerate(zip(golden.logits, found, strict=False)):
        if mine.shape != expected.shape:
            break
        best, other = int(expected.argmax()), int(mine.argmax())
        lead = float(expected[best] - expected[other])
        if best != other and lead > level.bound(float(expected[best])) + level.bound(float(expected[other])):
            problems.append(f"token {row}: id {other}, {best} in the corpus, which leads by {lead:.3g}")
    return problems
