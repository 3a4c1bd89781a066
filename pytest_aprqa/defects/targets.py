"""What the catalogues of all three formats share: tensor names, the output head, two hostile chat templates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pytest_aprqa.defects.declarations import edit_apr, end_rows, set_config
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import Floats, change_values, is_apr, stored_name
from pytest_aprqa.defects.tensor_operations import EMBEDDING, HEAD, duplicate

LAYER = "model.layers.{layer}."
FIRST = "model.layers.0."
MLP_DOWN = "mlp.down_proj.weight"
END_ROW_FACTOR = 1000.0
GGUF_HEAD = "output.weight"
ATTENTION_OUT = "self_attn.o_proj.weight"
# 10^15 rounds: below every limit of the template language, beyond every time limit.
ENDLESS_TEMPLATE = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}{{ messages[0]['content'] }}"
)
RAISING_TEMPLATE = "{{ raise_exception('Conversation roles must alternate user/assistant') }}"


def output_head(path: Path) -> str:
    """The tensor that makes logits: the head, or the embedding when the head is tied."""
    try:
        stored_name(path, HEAD)
    except DefectNotApplicableError:
        return EMBEDDING
    return HEAD


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
