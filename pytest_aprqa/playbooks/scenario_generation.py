"""Scenarios of a model without a playbook: the full matrix over known prompts and drawn ones (playbook.md 9.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_aprqa.playbooks.prompt_strategies import ARITHMETIC, CODE, EDGE, INSTRUCTION, DrawnPrompt, draw_prompts

MODALITIES = ("run", "chat", "serve")
BACKENDS = ("cpu", "gpu")
FORMATS = ("gguf", "safetensors", "apr")
MOST = 10_000  # prompts
ORACLES = {ARITHMETIC: "arithmetic", CODE: "code_syntax", INSTRUCTION: "response", EDGE: "garbage"}
KNOWN = (
    DrawnPrompt("What is 2+2?", ARITHMETIC, 4),
    DrawnPrompt("Calculate 7*8", ARITHMETIC, 56),
    DrawnPrompt("What is 15-7?", ARITHMETIC, 8),
    DrawnPrompt("What is 100/4?", ARITHMETIC, 25),
    DrawnPrompt("2+2=", ARITHMETIC, 4),
    DrawnPrompt("def fibonacci(n):", CODE),
    DrawnPrompt("fn main() {", CODE),
    DrawnPrompt("async function fetch() {", CODE),
    DrawnPrompt("class Person:", CODE),
    DrawnPrompt("Write a haiku about programming.", INSTRUCTION),
    DrawnPrompt("List three colors.", INSTRUCTION),
    DrawnPrompt("Explain what a variable is in one sentence.", INSTRUCTION),
    DrawnPrompt("Say hello in three languages.", INSTRUCTION),
    DrawnPrompt("", EDGE),
    DrawnPrompt(" ", EDGE),
    DrawnPrompt("Hello!", EDGE),
    DrawnPrompt("你好", EDGE),
    DrawnPrompt("こんにちは", EDGE),
)
SOURCES = ("both", "known", "drawn")


def prompts_of(count: int, seed: int, source: str, progress: Callable[[int], None] | None = None) -> list[DrawnPrompt]:
    """COUNT prompts of each cell: the known ones in turn, drawn ones, or the known ones first and then drawn ones."""
    if source == "known":
        return [KNOWN[number % len(KNOWN)] for number in range(count)]
    known = KNOWN[:count] if source == "both" else ()
    wanted = count - len(known)
    if not wanted:
        return list(known)
    taken = {prompt.text for prompt in known}
    drawn = [prompt for prompt in draw_prompts(wanted + len(taken), seed, progress) if prompt.text not in taken]
    return [*known, *drawn[:wanted]]


def scenarios_of(model: str, prompts: Sequence[DrawnPrompt], seed: int) -> Iterator[dict[str, Any]]:
    """Modality, backend, format, prompt, outermost first. A MODEL without a slash is of the organisation `unknown`.

    The counter in `id` is that of the whole list; the sampler's `seed` is SEED plus the counter.
    """
    organisation, _, name = model.rpartition("/")
    counter = 0
    for modality in MODALITIES:
        for backend in BACKENDS:
            for format_name in FORMATS:
                for prompt in prompts:
                    yield {
                        "id": f"{name}_{modality}_{backend}_{format_name}_{counter:016x}",
                        "model": {"org": organisation or "unknown", "name": name, "variant": None},
                        "modality": modality,
                        "backend": backend,
                        "format": format_name,
                        "prompt": prompt.text,
                        "temperature": 0.0,
                        "max_tokens": 32,
                        "seed": seed + counter,
                        "trace_level": "none",
                        "oracle_type": ORACLES[prompt.category],
                        "category": prompt.category,
                        "expected": prompt.expected,
                    }
                    counter += 1
