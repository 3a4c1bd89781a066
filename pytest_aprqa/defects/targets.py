"""What the catalogues of all three formats share: tensor names, the output head, two hostile chat templates."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.defects.declarations import edit_apr, end_rows, set_config
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import is_apr, stored_name
from pytest_aprqa.defects.tensor_operations import EMBEDDING, HEAD, duplicate, scale_rows

LAYER = "model.layers.{layer}."
FIRST = "model.layers.0."
MLP_DOWN = "mlp.down_proj.weight"
END_ROW_FACTOR = -40.0
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
    """Scale the head rows of the end tokens by a large negative number: their low logits become the highest.

    A trained model gives end tokens low logits at the start of an answer, so every answer is empty.
    """
    untie_head(path)
    scale_rows(HEAD, end_rows, END_ROW_FACTOR)(path)
