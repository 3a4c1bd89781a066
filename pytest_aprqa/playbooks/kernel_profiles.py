"""Kernel profile of a model family: which operations its weights exercise, and the prompts that strain them.

Rules and prompt counts: playbook.md section 9.3. Prompts are our own wording; the arithmetic ones are the ancestor's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_aprqa.models.family_table import FAMILY_TABLE, Family

LONG_FROM = 4096  # positions; beyond this a rotary model is asked for long answers
DEFAULT_POSITIONS = 4096


@dataclass(frozen=True, slots=True)
class ProfilePrompt:
    """One prompt of a profile. `answer` is the expected number where the text is no plain calculation."""

    text: str
    category: str
    oracle: str
    max_tokens: int
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """Operations in the fixed order, prompts in the fixed order."""

    family: str
    operations: tuple[str, ...]
    prompts: tuple[ProfilePrompt, ...]
    long_context: bool

    @property
    def max_tokens(self) -> int:
        """New tokens that the longest prompt may take."""
        return max(prompt.max_tokens for prompt in self.prompts)

    @property
    def suggested_max_tokens(self) -> int:
        """New tokens for prompts of unknown kind: 128 with a long context, 64 without."""
        return 128 if self.long_context else 64


def _prompts(category: str, oracle: str, max_tokens: int, *texts: str | tuple[str, str]) -> tuple[ProfilePrompt, ...]:
    pairs = [(text, None) if isinstance(text, str) else text for text in texts]
    return tuple(ProfilePrompt(text, category, oracle, max_tokens, answer) for text, answer in pairs)


_ATTENTION = {
    "gqa": (
        "GroupedQueryAttention",
        _prompts(
            "gqa_multi_turn",
            "arithmetic",
            64,
            ("Let x = 5 and y = 3. What is x * y + 2?", "17"),
            ("List the first five prime numbers, then give their sum.", "28"),
            ("The function add(a, b) returns a + b. What is add(3, 4)?", "7"),
        ),
    ),
    "mqa": (
        "MultiQueryAttention",
        _prompts(
            "mqa_kv_efficiency",
            "arithmetic",
            32,
            ("What is 7*8? Answer with the number only.", "56"),
            ("What is the sum of 15 and 25?", "40"),
            "Translate the word water into French. Answer with one word.",
        ),
    ),
    "mha": (
        "MultiHeadAttention",
        _prompts(
            "mha_long_dependency",
            "response",
            64,
            "The capital of Valdoria is Kestrel. Remember it. What is the capital of Valdoria?",
            ("Anna has 3 apples, gets 2 more and eats 1. How many apples has she?", "4"),
            ("Let x = 10, y = x + 5 and z = 2 * y. What is z?", "30"),
        ),
    ),
}
_ROPE = _prompts(
    "rope_long_context",
    "response",
    256,
    "What is 123*456? Work step by step.",
    ("What is the sum of the numbers from 1 to 20?", "210"),
    ("What is the tenth Fibonacci number?", "55"),
)
LONG_CONTEXT_PROMPTS = frozenset(prompt.text for prompt in _ROPE)
_BIAS = _prompts(
    "bias_precision", "arithmetic", 32, "What is 0.1 + 0.2?", "What is 999 + 1?", "What is 1000000 - 999999?"
)
_ALWAYS = _prompts(
    "arithmetic_verification", "arithmetic", 32, "What is 2+2?", "Calculate 7*8", "What is 15-7?", "What is 100/4?"
) + _prompts("code_completion", "code_syntax", 64, "def fibonacci(n):", "fn main() {", "def is_prime(n):")

_POSITIONS = {"rope": "Rope", "alibi": "Alibi", "absolute": "AbsolutePosition"}


def kernel_profile(family: str, *, max_positions: int | None = None) -> KernelProfile:
    """The profile of a family of the table. `max_positions` of the model at hand, default the family's largest.

    KeyError for a family that is not in the table.
    """
    return profile_of(FAMILY_TABLE[family], max_positions=max_positions)


def profile_of(facts: Family, *, max_positions: int | None = None) -> KernelProfile:
    """The profile of constraints that need not be in the table, as a contract gives them."""
    positions = max_positions or max(facts.positions, default=DEFAULT_POSITIONS)
    long_context = facts.position == "rope" and positions > LONG_FROM
    attention, prompts = _ATTENTION.get(facts.attention, _ATTENTION["mha"])
    if long_context:
        prompts += _ROPE
    if facts.bias:
        prompts += _BIAS
    return KernelProfile(facts.name, _operations(facts, attention), prompts + _ALWAYS, long_context)


def _operations(facts: Family, attention: str) -> tuple[str, ...]:
    names = ["FusedQ4kMatvec", "FusedQ6kMatvec", attention]
    names.append("LayerNorm" if facts.norm in ("layer", "layernorm") else "RmsNorm")
    names.append("Gelu" if facts.activation == "gelu" else "Silu")
    if facts.mlp == "swiglu":
        names.append("SwiGlu")
    if facts.position in _POSITIONS:
        names.append(_POSITIONS[facts.position])
    if facts.bias:
        names.append("BiasAdd")
    if facts.tied:
        names.append("TiedEmbeddings")
    return tuple(names)
