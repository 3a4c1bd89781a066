"""Measure what tiny-qwen2 really answers, greedily, from the saved files: `python -m training.evaluate [DIR]`.

Accuracy is exact: the whole generated text up to the stop token must equal the expected answer.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from training.corpus import CODE_STUBS, all_problems, chat_document, raw_document, raw_prompts, text_documents

BATCH = 256
SAMPLE_SEED = 11


class GreedyRunner:
    """Greedy completion of many prompts, left padded, float32."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._tokenizer.padding_side = "left"
        self._model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def complete(self, prompts: list[str], max_new_tokens: int) -> list[str]:
        """Texts with the stop token that ended them (if any) kept, so that a missing stop is an error too."""
        texts: list[str] = []
        for start in range(0, len(prompts), BATCH):
            batch = self._tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True)
            output = self._model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
            for row in output[:, batch["input_ids"].shape[1] :]:
                texts.append(self._tokenizer.decode(row, skip_special_tokens=False))
        return texts


def accuracy(runner: GreedyRunner, documents: list, max_new_tokens: int) -> tuple[float, list[dict[str, str]]]:
    """Share of documents whose completion begins with exactly the expected answer and its stop token; misses."""
    outputs = runner.complete([d.prompt for d in documents], max_new_tokens)
    misses = [
        {"prompt": d.prompt, "expected": d.answer, "found": found}
        for d, found in zip(documents, outputs, strict=True)
        if not found.startswith(d.answer)
    ]
    return 1 - len(misses) / len(documents), misses[:20]


def evaluate(folder: Path, sample: int | None) -> dict[str, object]:
    """All measures. `sample` limits the held-out problems (None = every one of them)."""
    runner = GreedyRunner(folder)
    held_out = [p for p in all_problems() if p.held_out]
    if sample is not None:
        held_out = random.Random(SAMPLE_SEED).sample(held_out, sample)
    table = [p for p in all_problems() if p.operation == "multiply"]
    accuracies: dict[str, float] = {}
    misses: dict[str, list[dict[str, str]]] = {}
    sets = {
        "held_out_chat": [chat_document(f"What is {p.expressions()[0]}?", str(p.result)) for p in held_out],
        "held_out_raw": [raw_document(f"{p.expressions()[0]}=", str(p.result)) for p in held_out],
        "held_out_raw_question": [raw_document(raw_prompts(p)[2], str(p.result)) for p in held_out],
        "table_chat": [chat_document(f"What is {p.expressions()[0]}?", str(p.result)) for p in table],
        "table_raw": [raw_document(f"{p.expressions()[0]}=", str(p.result)) for p in table],
    }
    for name, documents in sets.items():
        accuracies[name], misses[name] = accuracy(runner, documents, max_new_tokens=6)
    accuracies["texts"], misses["texts"] = accuracy(runner, text_documents(), max_new_tokens=64)
    accuracies["stubs_that_parse"] = stubs_that_parse(runner)
    return {
        "accuracy": {k: round(v, 4) for k, v in accuracies.items()},
        "held_out_problems": len(held_out),
        "misses": misses,
    }


def stubs_that_parse(runner: GreedyRunner) -> float:
    """Share of Python stubs whose completion makes a module that `ast` accepts."""
    outputs = runner.complete([stub for stub, _ in CODE_STUBS], max_new_tokens=64)
    good = 0
    for (stub, _), output in zip(CODE_STUBS, outputs, strict=True):
        try:
            ast.parse(stub + output.split("<|")[0])
            good += 1
        except SyntaxError:
            continue
    return good / len(CODE_STUBS)


if __name__ == "__main__":
    print(json.dumps(evaluate(Path(sys.argv[1] if len(sys.argv) > 1 else "models/tiny-qwen2"), None), indent=2))
