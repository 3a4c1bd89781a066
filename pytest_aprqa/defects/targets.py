"""What the catalogues of all three formats aim at: tensor names, the output head, two hostile chat templates."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import stored_name
from pytest_aprqa.defects.tensor_operations import EMBEDDING, HEAD

LAYER = "model.layers.{layer}."
FIRST = "model.layers.0."
MLP_DOWN = "mlp.down_proj.weight"
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
