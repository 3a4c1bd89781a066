"""Train tiny-qwen2 from the generated corpus: `python -m training.train [--steps N] [--output DIR]`.

Two cores, about an hour. Seeds are fixed; progress, loss and held-out accuracy are printed as it goes.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from training.corpus import BOS_FREE_END, CHAT_END, ArithmeticSampler, Document, text_documents
from training.evaluate import evaluate
from training.tokenizer import build_tokenizer

CONTEXT_LENGTH = 512
SEED = 20261121
IGNORED_LABEL = -100


def model_config(vocabulary: int, end_ids: tuple[int, int]) -> Qwen2Config:
    """The shape: hidden 256 so that every block type fits; every row length is a multiple of 256."""
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=end_ids[1],
        eos_token_id=end_ids[0],
        attention_dropout=0.0,
        initializer_range=0.02,
    )


class Encoder:
    """Documents to padded tensors: input ids, labels (prompt positions ignored), shape (batch, longest)."""

    def __init__(self, tokenizer) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._cache[text]

    def batch(self, documents: list[Document]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [(self.ids(d.prompt), self.ids(d.answer)) for d in documents]
        longest = max(len(p) + len(a) for p, a in rows)
        pad = self._tokenizer.pad_token_id
        inputs = torch.full((len(rows), longest), pad)
        labels = torch.full((len(rows), longest), IGNORED_LABEL)
        for i, (prompt, answer) in enumerate(rows):
            inputs[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[i, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        return inputs, labels


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=224, help="arithmetic documents a step")
    parser.add_argument("--text-batch", type=int, default=16, help="code and question documents a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--evaluate-every", type=int, default=750)
    parser.add_argument("--output", type=Path, default=Path("models/tiny-qwen2"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer(CONTEXT_LENGTH)
    end_ids = (tokenizer.convert_tokens_to_ids(CHAT_END), tokenizer.convert_tokens_to_ids(BOS_FREE_END))
    model = Qwen2ForCausalLM(model_config(len(tokenizer), end_ids))
    print(f"parameters {model.num_parameters():,}  vocabulary {len(tokenizer)}", flush=True)

    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.learning_rate, total_steps=arguments.steps, pct_start=0.08, anneal_strategy="cos"
    )
    encoder, arithmetic, texts = Encoder(tokenizer), iter(ArithmeticSampler(SEED)), text_documents()
    generator = torch.Generator().manual_seed(SEED)
    started, running = time.monotonic(), 0.0
    for step in range(1, arguments.steps + 1):
        chosen = torch.randint(len(texts), (arguments.text_batch,), generator=generator).tolist()
        batches = [list(islice(arithmetic, arguments.batch)), [texts[i] for i in chosen]]
        for documents in batches:
            inputs, labels = encoder.batch(documents)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(input_ids=inputs, labels=labels, use_cache=False).loss
            loss.backward()
            running += loss.item() / len(batches)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            pace = (time.monotonic() - started) / step
            left = pace * (arguments.steps - step) / 60
            print(
                f"step {step}/{arguments.steps}  loss {running / 50:.4f}  {pace:.2f} s/step  {left:.0f} min left",
                flush=True,
            )
            running = 0.0
        if step % arguments.evaluate_every == 0 or step == arguments.steps:
            quick = step != arguments.steps
            save(model, tokenizer, end_ids, arguments.output)
            report = evaluate(arguments.output, sample=300 if quick else None)
            print(json.dumps(report["accuracy"]), flush=True)
            model.train()
    (arguments.output / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def save(model, tokenizer, end_ids: tuple[int, int], folder: Path) -> None:
    """Write BF16 SafeTensors, tokenizer and generation settings; the live model stays float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    copy = Qwen2ForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(weights)
    copy.generation_config = GenerationConfig(
        bos_token_id=end_ids[1], eos_token_id=list(end_ids), pad_token_id=end_ids[1], do_sample=False, max_new_tokens=64
    )
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    declare_portable_tokenizer_class(folder / "tokenizer_config.json")
    (folder / "model.safetensors").chmod(0o644)


def declare_portable_tokenizer_class(path: Path) -> None:
    """transformers 5 writes a class name that older releases do not know; the class below is known to all of them."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.pop("backend", None)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
