"""Random Llama models whose tokenizer is SentencePiece BPE as Hugging Face stores it, trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.model_fixtures import LLAMA_CONFIG, TEXTS, _write_folder

SPACE = "\u2581"
RUNS = ["aaaa aaaaaaa aaa", "------ ----", "000 0000 00000", "x    y        z", "2023 2024 2025 1999 1990 10 100 1000"]
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endfor %}"
Change = Callable[[dict[str, Any]], None]


def sentence_piece_folder(
    folder: Path,
    *,
    prefix: str = "normalizer",
    change: Change | None = None,
    extra_rows: int = 3,
    name: str = "random-llama",
) -> Path:
    """A random Llama below `folder`. `prefix`: how a space gets before a text: normalizer, metaspace, none (Gemma).

    `change` edits the decoded tokenizer.json before it is written; `extra_rows`: rows without a token; `name`: the
    model's, by which llama.cpp knows Phi-3.
    """
    document = json.loads(trained(prefix).to_str())
    if change is not None:
        change(document)
    tokenizer = Tokenizer.from_str(json.dumps(document))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "chat_template": TEMPLATE,
    }  # fmt: skip
    rows = max(tokenizer.get_vocab().values()) + 1 + extra_rows
    config = {**LLAMA_CONFIG, "vocab_size": rows, "bos_token_id": 1, "eos_token_id": 2, "_name_or_path": name}
    _write_folder(folder, config, tokenizer, settings, {"bos_token_id": 1, "eos_token_id": 2}, 5, "BF16")
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return folder


def phi_3_flags(document: dict[str, Any]) -> None:
    """The added tokens of Phi-3: all but three take the white space behind them along."""
    last = document["added_tokens"][-1]
    for name in ("<|endoftext|>", "<|user|>"):
        document["added_tokens"].append({**last, "id": document["added_tokens"][-1]["id"] + 1, "content": name})
    for added in document["added_tokens"]:
        added["rstrip"] = added["content"] not in ("<unk>", "<s>", "<|endoftext|>")


def gemma_runs(document: dict[str, Any]) -> None:
    """Runs of line ends and of marked spaces as added tokens that are no special ones, the latter merged too."""
    last = document["added_tokens"][-1]
    for name in ("\n\n", "\n\n\n", SPACE * 2, SPACE * 4):
        number = document["model"]["vocab"].get(name, max(added["id"] for added in document["added_tokens"]) + 1)
        document["added_tokens"].append({**last, "id": number, "content": name})
    document["added_tokens"].sort(key=lambda added: added["id"])


def trained(prefix: str) -> Tokenizer:
    """512 tokens: specials, 256 bytes, characters, and merges over whole words with the space before them."""
    special = ["<unk>", "<s>", "</s>"]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=240, min_frequency=2, show_progress=False)
    learner.train_from_iterator([*TEXTS, *RUNS] * 2, trainer)
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].get)
    merges = [tuple(merge) for merge in learnt["merges"]]
    made = ["".join(merge) for merge in merges]
    # As converters of SentencePiece models write them: every pair that makes a token, by the token's place.
    characters = [piece for piece in pieces if len(piece) == 1]
    runs = [SPACE * 2, SPACE * 4, SPACE * 3]
    vocabulary = {token: number for number, token in enumerate([*names, *dict.fromkeys([*made, *runs]), *characters])}
    pairs = [
        (token[:at], token[at:])
        for token in dict.fromkeys([*made, *runs])
        for at in range(1, len(token))
        if token[:at] in vocabulary and token[at:] in vocabulary
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    _dress(tokenizer, prefix)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    return tokenizer


def _dress(tokenizer: Tokenizer, prefix: str) -> None:
    marked = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), marked])
        steps.append(decoders.Strip(" ", 1, 0))
    elif prefix == "none":
        tokenizer.normalizer = marked
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
