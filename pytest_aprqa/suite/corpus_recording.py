"""Record a golden corpus: transformers' own loader and tokenizer on a folder, none of our readers or engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.suite.golden_corpus import Corpus

# Arithmetic, plain text, code and another script: each takes other ways through tokenizer and weights.
PROMPTS = (
    "What is 2+2?",
    "Hello",
    "Calculate 7*8",
    "def fibonacci(n):",
    "The capital of France is",
    "List three colors",
    "Grüße, 你好",
    "1 2 3 4 5 6 7 8",
)
NEW_TOKENS = 8
LARGEST_LOGITS = 64 << 20  # bytes a prompt


def record(
    folder: Path,
    output: Path,
    prompts: Sequence[str] = PROMPTS,
    new_tokens: int = NEW_TOKENS,
    on_prompt: Callable[[int, int], None] = lambda done, total: None,
) -> Corpus:
    """Answer each prompt greedily in float32 and write the corpus. CorpusError for a folder that does not load."""
    from pytest_aprqa.suite.golden_corpus import MANIFEST, CorpusError, write_corpus

    if not (folder / "config.json").is_file():
        raise CorpusError(f"{folder}: no config.json; give the folder of a SafeTensors model")
    if (output / MANIFEST).exists():
        raise CorpusError(f"{output}: a corpus is there already; remove it or name another folder")
    os.environ["HF_HUB_OFFLINE"] = "1"
    model, tokenizer, versions = _load(folder)
    width = int(model.config.vocab_size)
    rows = max(1, min(new_tokens, LARGEST_LOGITS // (4 * width)))
    goldens = []
    for done, prompt in enumerate(prompts):
        on_prompt(done, len(prompts))
        goldens.append(_answer(model, tokenizer, prompt, rows))
    facts = {"model": folder.resolve().name, "model_sha256": _digest(folder), "dtype": "float32", **versions}
    return write_corpus(output, goldens, facts)


def _load(folder: Path) -> tuple[Any, Any, dict[str, str]]:
    """(model, tokenizer, versions); whatever transformers raises about a folder is one CorpusError."""
    import torch
    import transformers

    from pytest_aprqa.suite.golden_corpus import CorpusError

    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
        )
    except Exception as error:  # transformers raises what its many loaders raise
        text = " ".join(str(error).split())[:200]
        raise CorpusError(f"{folder}: transformers cannot load it: {type(error).__name__}: {text}") from None
    model.eval()
    return model, tokenizer, {"transformers_version": transformers.__version__, "torch_version": torch.__version__}


def _answer(model: Any, tokenizer: Any, prompt: str, tokens: int) -> Any:
    """The greedy answer token by token, each row of logits kept; no cache, no sampling, no processors."""
    import numpy
    import torch

    from pytest_aprqa.suite.golden_corpus import CorpusError, Golden

    prompt_ids = list(tokenizer(prompt)["input_ids"])
    if not prompt_ids:
        raise CorpusError(f"prompt {prompt!r}: the tokenizer makes no token of it")
    ids, rows = list(prompt_ids), []
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    with torch.inference_mode():
        for _ in range(tokens):
            row = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float().numpy()
            rows.append(row)
            ids.append(int(row.argmax()))
            if ids[-1] in ends:
                break
    generated = ids[len(prompt_ids) :]
    text = tokenizer.decode(generated, skip_special_tokens=True)
    return Golden(prompt, prompt_ids, generated, text, numpy.stack(rows).astype(numpy.float32))


def _digest(folder: Path) -> str:
    from pytest_aprqa.models.artifact import describe_artifact

    return describe_artifact(folder, "safetensors").sha256
