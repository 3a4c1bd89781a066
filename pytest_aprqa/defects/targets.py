"""What the catalogues of all three formats share: tensor names, the output head, two hostile chat templates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pytest_aprqa.defects.declarations import (
    CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    edit_apr,
    edit_json,
    end_rows,
    set_config,
)
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import Floats, change_values, is_apr, stored_name
from pytest_aprqa.defects.tensor_operations import EMBEDDING, HEAD, append_average_rows, duplicate, swap_layers

LAYER = "model.layers.{layer}."
FIRST = "model.layers.0."
MLP_DOWN = "mlp.down_proj.weight"
ATTENTION_NORM, MLP_NORM = "input_layernorm.weight", "post_attention_layernorm.weight"
GATE, UP, QUERY_BIAS = FIRST + "mlp.gate_proj.weight", FIRST + "mlp.up_proj.weight", FIRST + "self_attn.q_proj.bias"
END_ROW_FACTOR = 1000.0
PADDING_TOKENS = 2
OVERFLOW_FACTOR = 2.0**60  # three of them in one product: beyond 2^128
GGUF_HEAD = "output.weight"
ATTENTION_OUT = "self_attn.o_proj.weight"
# 10^15 rounds: below every limit of the template language, beyond every time limit.
ENDLESS_TEMPLATE = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}{{ messages[0]['content'] }}"
)
OTHER_TEMPLATE = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
RAISING_TEMPLATE = "{{ raise_exception('Conversation roles must alternate user/assistant') }}"


def other_tokenizer(tokens: list[str]) -> list[str]:
    """The same tokens, the first half of them under other ids: a vocabulary of another training."""
    half = len(tokens) // 2
    return tokens[:half][::-1] + tokens[half:]


def output_head(path: Path) -> str:
    """The tensor that makes logits: the head, or the embedding when the head is tied."""
    try:
        stored_name(path, HEAD)
    except DefectNotApplicableError:
        return EMBEDDING
    return HEAD


def exchange_layers(path: Path) -> None:
    """Exchange the matrices of the first and the last layer that have one shape in both."""
    for role in (ATTENTION_OUT, MLP_DOWN, "mlp.up_proj.weight", "mlp.gate_proj.weight"):
        swap_layers(LAYER + role)(path)


def overflow_activations(path: Path) -> None:
    """Make the first MLP so large that its products leave float32; every weight is finite in float32 and bfloat16."""
    for name in (GATE, UP, FIRST + MLP_DOWN):
        change_values(path, name, lambda values: values * np.float32(OVERFLOW_FACTOR))


def untie_head(path: Path) -> None:
    """Give a model with a tied head its own one, equal to the embedding and declared so: the outputs stay the same."""
    if path.is_dir():
        if output_head(path) == EMBEDDING:
            duplicate(EMBEDDING, HEAD)(path)
        set_config(tie_word_embeddings=False)(path)
    elif output_head(path) == EMBEDDING:
        duplicate(EMBEDDING, GGUF_HEAD)(path)
    elif is_apr(path):
        edit_apr(lambda metadata: metadata.pop("tied_embeddings", None))(path)


def separate_head(folder: Path) -> None:
    """Give a source folder with a tied head its own one that differs from the embedding, and declare it."""
    if output_head(folder) == EMBEDDING:
        duplicate(EMBEDDING, HEAD)(folder)
        change_values(folder, HEAD, lambda values: values * np.float32(0.5))
    set_config(tie_word_embeddings=False)(folder)


def add_bos(folder: Path) -> None:
    """Make the tokenizer of a source folder put its first end token before every text, and say so."""
    row = end_rows(folder)[0]
    document = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    name = next(token["content"] for token in document["added_tokens"] if token["id"] == row)
    special = {name: {"id": name, "ids": [row], "tokens": [name]}}
    first = [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*first, {"Sequence": {"id": "B", "type_id": 1}}]
    rule = {"type": "TemplateProcessing", "single": first, "pair": pair, "special_tokens": special}
    edit_json(TOKENIZER, lambda tokenizer: tokenizer.update(post_processor=rule))(folder)
    edit_json(TOKENIZER_CONFIG, lambda config: config.update(add_bos_token=True, bos_token=name))(folder)


def add_padding_tokens(folder: Path) -> None:
    """Give a source folder two padding tokens after all others, each with a row like the average one."""
    rows = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["vocab_size"]
    flags = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    tokens = [{"id": rows + number, "content": f"[PAD{number}]", **flags} for number in range(PADDING_TOKENS)]
    edit_json(TOKENIZER, lambda tokenizer: tokenizer["added_tokens"].extend(tokens))(folder)
    for name in {EMBEDDING, output_head(folder)}:
        append_average_rows(name, PADDING_TOKENS)(folder)
    set_config(vocab_size=rows + PADDING_TOKENS)(folder)


def flood_with_padding(path: Path) -> None:
    """Make the head rows of the last two tokens huge and opposite: whatever the hidden state, one of them wins."""
    untie_head(path)

    def change(values: Floats) -> Floats:
        values[-1] = values[0] * np.float32(END_ROW_FACTOR)
        values[-2] = -values[-1]
        return values

    change_values(path, HEAD, change)


def end_at_once(path: Path) -> None:
    """Make the head rows of the end tokens huge, the first one positive, all others its negative.

    Whatever the hidden state, one of two opposite rows has the highest logit: every answer is empty. With a single end
    token the row is only negated, which is enough where a trained model gives it a low logit.
    """
    untie_head(path)
    rows = end_rows(path)

    def change(values: Floats) -> Floats:
        first = values[rows[0]] * np.float32(END_ROW_FACTOR)
        values[rows] = -first
        if len(rows) > 1:
            values[rows[0]] = first
        return values

    change_values(path, HEAD, change)
