"""Small trained models of other families than the bundled one, made once in a cache folder: the ground of noise floors.

python benchmarks/trained_families.py [--families llama gemma2 ...] [--steps 350] [--cache FOLDER]
Each learns whole texts of the bundled corpus (sums below 20, the times table, code, questions) in minutes of two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from training.corpus import (  # noqa: E402
    Document,
    all_problems,
    chat_document,
    chat_prompts,
    raw_document,
    raw_prompts,
    text_documents,
)  # fmt: skip

TINY = REPOSITORY / "models" / "tiny-qwen2"
CACHE = Path.home() / ".cache" / "pytest-aprqa" / "trained-families"
SHAPE = {
    "vocab_size": 816, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 813, "eos_token_id": 815,
    "pad_token_id": 813,
}  # fmt: skip
# What the configuration of a family has besides; None: it has no such field.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 64},
    "mistral": {"head_dim": 64, "sliding_window": None},
    "qwen3": {"head_dim": 64},
    "gemma": {"head_dim": 64},
    "gemma2": {"head_dim": 64, "query_pre_attn_scalar": 64},
    "phi3": {"original_max_position_embeddings": 512},
    "falcon": {"intermediate_size": None, "num_key_value_heads": None, "ffn_hidden_size": 1024},
}
SEED, BATCHES, LARGEST_SUM = 20261121, (48, 12), 20  # batches: arithmetic, and code and questions
STEPS = 350
IGNORED = -100
END_IDS = (815, 813)


def documents() -> tuple[list[Document], list[Document]]:
    """(arithmetic in every spelling, code and questions): few enough to be learnt in some hundred steps."""
    small = [p for p in all_problems() if p.operation == "add" and p.result < LARGEST_SUM]
    small += [p for p in all_problems() if p.operation == "multiply"]
    arithmetic = [raw_document(text, str(p.result)) for p in small for text in raw_prompts(p)]
    arithmetic += [chat_document(text, str(p.result)) for p in small for text in chat_prompts(p)]
    return arithmetic, text_documents()


def token_ids(tokenizer: Any, document: Document) -> list[int]:
    """Ids of prompt and answer, cut as training does: the answer starts a token."""
    parts = (document.prompt, document.answer)
    return [i for part in parts for i in tokenizer(part, add_special_tokens=False)["input_ids"]]


def model_of(family: str) -> Any:
    """A new small model of the family."""
    torch.manual_seed(SEED)
    fields = {name: value for name, value in (SHAPE | FAMILIES[family]).items() if value is not None}
    config = transformers.AutoConfig.for_model(family, **fields)
    config.attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(config).float()


def train(model: Any, tokenizer: Any, steps: int) -> float:
    """Teach the model whole texts, prompts too, as language models learn; mean loss of the last tenth, nats a token."""
    kinds = [[token_ids(tokenizer, d) for d in kind] for kind in documents()]
    draw, losses = random.Random(SEED), []
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.08)
    for step in range(steps):
        total = 0.0
        for kind, count in zip(kinds, BATCHES, strict=True):  # apart: the one kind is three times as long as the other
            rows = draw.choices(kind, k=count)
            longest = max(map(len, rows))
            ids = torch.tensor([row + [SHAPE["pad_token_id"]] * (longest - len(row)) for row in rows])
            labels = torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows])
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
            loss.backward()
            total += float(loss.detach()) / len(kinds)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(total)
        if step % 100 == 99:
            print(f"  step {step + 1}/{steps}  loss {sum(losses[-50:]) / 50:.4f}", flush=True)
    last = losses[-max(steps // 10, 1) :]
    return sum(last) / len(last)


def recipe(family: str, steps: int) -> dict[str, Any]:
    """What a trained model depends on besides the version of torch: same recipe, same folder."""
    corpus = hashlib.sha256(repr(documents()).encode()).hexdigest()[:16]
    shape = {name: value for name, value in (SHAPE | FAMILIES[family]).items() if value is not None}
    return {"family": family, "steps": steps, "seed": SEED, "batches": BATCHES, "shape": shape, "corpus": corpus}


def trained_folder(family: str, steps: int, cache: Path = CACHE) -> Path:
    """The trained float32 model of the family as a Hugging Face folder; trained now unless the cache has it."""
    wanted = recipe(family, steps)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache / f"{family}-{digest}"
    if (folder / "recipe.json").is_file():
        return folder
    print(f"{family}: training {steps} steps", flush=True)
    started, model = time.process_time(), model_of(family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY)
    loss = train(model, tokenizer, steps)
    folder.mkdir(parents=True, exist_ok=True)
    ends = {"bos_token_id": END_IDS[1], "eos_token_id": list(END_IDS), "pad_token_id": END_IDS[1]}
    model.generation_config = transformers.GenerationConfig(**ends, do_sample=False, max_new_tokens=64)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(TINY / name, folder / name)
    told = wanted | {"loss": round(loss, 4), "processor_s": round(time.process_time() - started)}
    told |= {"torch": torch.__version__, "transformers": transformers.__version__}
    (folder / "recipe.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{family}: loss {told['loss']}, {told['processor_s']} s of processor time, {folder}", flush=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    for family in arguments.families:
        trained_folder(family, arguments.steps, arguments.cache)


if __name__ == "__main__":
    main()
