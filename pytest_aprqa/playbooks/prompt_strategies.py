"""Prompts beyond the known ones, by seed, as Hypothesis strategies: calculations, code, instructions, odd texts.

Every choice is made of coin flips: Hypothesis's own integers and texts also try constants of whatever is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_aprqa.playbooks.errors import PlaybookError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ARITHMETIC, CODE, INSTRUCTION, EDGE = "arithmetic", "code", "instruction", "edge"
BITS = 20  # of one choice; the remainder by the number of ways is even enough
ROUNDS = 20  # of drawing, before it is said that there are no more different prompts
LONGEST = 120  # characters of an odd text

_NOUNS = ("river", "compiler", "teacher", "planet", "bridge", "violin", "harbour", "matrix", "garden", "engine")
_VERBS = ("count", "merge", "reverse", "filter", "sort", "parse", "invert", "split", "scale", "rotate")
_TYPES = ("i32", "u64", "f64", "bool", "String")
_INSTRUCTIONS = (
    "Write a haiku about a {0}.",
    "Explain in one sentence what a {0} is.",
    "List three words that have to do with a {0} and a {1}.",
    "Tell the difference between a {0} and a {1} in two sentences.",
    "Give a title to a story about a {0} that becomes a {1}.",
)
# Pieces that tokenizers, templates and terminals have trouble with.
_ODD = (
    "", " ", "\n", "\t", "  ", "a", "Z", "0", "é", "ß", "ñ", "日本", "你好", "한국", "مرحبا", "שלום", "नमस्ते", "🙂",
    "\U0001f469\u200d\U0001f467", "\u0301", "\u200b", "\u202e", "\ufeff", "\x00", "\x1b[31m", "\x7f", "<|im_end|>",
    "</s>", "[INST]", "{{ x }}", "{% if %}", "${HOME}", "../..", "```", "\\n", '"', "'", "<b>", "&amp;", "%s", "1e309",
    "-0", "NaN",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DrawnPrompt:
    """A prompt, what it is about, and for a calculation its result as a whole number."""

    text: str
    category: str
    expected: int | None = None


Draw = Callable[["SearchStrategy[Any]"], Any]


def prompts() -> SearchStrategy[DrawnPrompt]:
    """Prompts of the four kinds, in the shares of the known ones: 5 calculations, 4 code, 4 instructions, 5 odd."""
    from hypothesis import strategies as st

    kinds = (_calculation,) * 5 + (_code,) * 4 + (_instruction,) * 4 + (_odd,) * 5
    coins = st.tuples(*[st.booleans()] * BITS)

    @st.composite
    def drawn(draw: Draw) -> DrawnPrompt:
        def below(limit: int) -> int:
            number: int = sum(coin << place for place, coin in enumerate(draw(coins)))
            return number % limit

        return kinds[below(len(kinds))](below)

    return drawn()


Below = Callable[[int], int]


def _calculation(below: Below) -> DrawnPrompt:
    left, right = below(1000), 1 + below(99)
    text, result = (
        (f"{left}+{right}", left + right),
        (f"{left + right}-{right}", left),
        (f"{left}*{right}", left * right),
        (f"{left * right}/{right}", left),
    )[below(4)]
    words = ("What is {}?", "Calculate {}", "{}=", "How much is {}? Answer with the number only.")[below(4)]
    return DrawnPrompt(words.format(text), ARITHMETIC, result)


def _code(below: Below) -> DrawnPrompt:
    verb, noun = _VERBS[below(len(_VERBS))], _NOUNS[below(len(_NOUNS))]
    kind = _TYPES[below(len(_TYPES))]
    forms = (
        f"def {verb}_{noun}(values):",
        f"def {verb}_{noun}(left, right):\n    ",
        f"class {noun.title()}:",
        f"fn {verb}_{noun}(value: {kind}) -> {kind} {{",
        f"async function {verb}{noun.title()}() {{",
    )
    return DrawnPrompt(forms[below(len(forms))], CODE)


def _instruction(below: Below) -> DrawnPrompt:
    first = below(len(_NOUNS))
    second = (first + 1 + below(len(_NOUNS) - 1)) % len(_NOUNS)
    return DrawnPrompt(_INSTRUCTIONS[below(len(_INSTRUCTIONS))].format(_NOUNS[first], _NOUNS[second]), INSTRUCTION)


def _odd(below: Below) -> DrawnPrompt:
    pieces = [_ODD[below(len(_ODD))] for _ in range(1 + below(6))]
    repeated = "".join(pieces) * (1, 1, 1, 17)[below(4)]
    return DrawnPrompt(repeated[:LONGEST], EDGE)


def draw_prompts(count: int, seed: int, progress: Callable[[int], None] | None = None) -> list[DrawnPrompt]:
    """COUNT different prompts; the same for the same SEED, version of Hypothesis and of this package.

    PROGRESS is told how many there are. PlaybookError: Hypothesis is not installed, or there are not so many.
    """
    try:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import seed as seeded
    except ImportError:
        raise PlaybookError(
            "Hypothesis", "is not installed, and draws the prompts", advice="pip install 'pytest-aprqa[invariants]'"
        ) from None
    found: dict[str, DrawnPrompt] = {}
    for number in range(ROUNDS):

        @seeded(seed * ROUNDS + number)
        @settings(
            max_examples=max(100, count),
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(prompts())
        def keep(prompt: DrawnPrompt) -> None:
            found.setdefault(prompt.text, prompt)
            if progress is not None:
                progress(min(len(found), count))

        keep()
        if len(found) >= count:
            return list(found.values())[:count]
    raise PlaybookError("--count", f"there are only {len(found)} different prompts to draw", advice="ask for fewer")
