"""Defects of an APR file: container, metadata, tokenizer keys, weights."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.defects.declarations import edit_apr, head_counts, remove_apr_keys, set_apr
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.file_operations import declare_column_major, flip_bit, flip_bit_in_data, truncate
from pytest_aprqa.defects.targets import (
    ATTENTION_OUT,
    ENDLESS_TEMPLATE,
    FIRST,
    LAYER,
    MLP_DOWN,
    RAISING_TEMPLATE,
    end_at_once,
)
from pytest_aprqa.defects.tensor_operations import (
    EMBEDDING,
    HEAD,
    Operation,
    convert,
    drop,
    duplicate,
    in_every_layer,
    interleave_rows,
    put_value,
    rename,
    roll_rows,
    scale,
    transpose,
    zero,
)

TABLE = "data/README table of the released apr 0.72.3, row {}"
VOCABULARY, MERGES = "tokenizer.vocabulary", "tokenizer.merges"


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str) -> Defect:
    return Defect(f"apr-{name}", title, origin, "apr", gateway, operation)


def _shift_vocabulary(metadata: dict[str, Any]) -> None:
    tokens = metadata.get(VOCABULARY)
    if not tokens:
        raise DefectNotApplicableError("metadata", VOCABULARY, "the file has no vocabulary")
    metadata[VOCABULARY] = tokens[-1:] + tokens[:-1]


def _wrong_end(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.eos_token_id"] = 0


def _set_templates(template: str) -> Operation:
    return set_apr(chat_template=template, tokenizer__chat_template=template)


DEFECTS: tuple[Defect, ...] = (
    _defect("header-bit-flipped", "G0", "one header bit is flipped", flip_bit(12, 0), TABLE.format(9)),
    _defect("data-bit-flipped", "G0", "one bit of tensor data is flipped", flip_bit_in_data(6), TABLE.format(8)),
    _defect("footer-bit-flipped", "G0", "one bit of the footer sum is flipped", flip_bit(-1, 3), TABLE.format(8)),
    _defect("truncated", "G0", "half of the file is missing", truncate(0.5), TABLE.format(9)),
    _defect("column-major", "G0", "the forbidden column-major bit is set", declare_column_major, "LAYOUT-002"),
    _defect("layers-wrong", "G0", "metadata says 5 layers", set_apr(num_layers=5), "config of another size variant"),
    _defect(
        "hidden-size-wrong", "G0", "metadata says hidden_size 4096", set_apr(hidden_size=4096), "wrong defaults stamped"
    ),
    _defect("nan-in-tensor", "G0", "one weight is NaN", put_value(FIRST + MLP_DOWN, float("nan")), "fp16 overflow"),
    _defect(
        "tensor-all-zero", "G0", "a projection is all zeros", zero(FIRST + "mlp.up_proj.weight"), "unfilled buffer"
    ),
    _defect(
        "projection-transposed", "G0", "a projection is stored transposed", transpose(FIRST + MLP_DOWN), "LAYOUT-002"
    ),
    _defect("tensor-missing", "G1", "a norm is missing", drop("model.norm.weight"), "partial conversion"),
    _defect(
        "tensor-extra",
        "G1",
        "a tensor too many",
        duplicate(FIRST + MLP_DOWN, FIRST + "mlp.spare.weight"),
        "left-over buffers",
    ),
    _defect("tokenizer-dropped", "G1", "the whole tokenizer is gone", remove_apr_keys("tokenizer."), TABLE.format(3)),
    _defect(
        "merges-lost", "G1", "the tokenizer has no merges", remove_apr_keys(MERGES), "vocab.json without merges.txt"
    ),
    _defect(
        "architecture-wrong",
        "G1",
        "metadata names a family that nobody knows",
        set_apr(architecture="nonesuch", hf_model_type="nonesuch"),
        "stamp with a wrong --architecture",
    ),
    _defect(
        "context-missing",
        "G1",
        "max_position_embeddings is absent",
        remove_apr_keys("max_position_embeddings"),
        "apr-format.md 7: required by the engine since 0.72",
    ),
    _defect(
        "end-row-scaled",
        "G2",
        "the head row of the end token is scaled, so that every answer is empty",
        end_at_once,
        "end-token row never trained",
    ),
    _defect(
        "chat-template-raises",
        "G2",
        "the template refuses everything",
        _set_templates(RAISING_TEMPLATE),
        "strict templates",
    ),
    _defect(
        "chat-template-lost",
        "G1",
        "there is no chat template",
        remove_apr_keys("chat_template", "tokenizer.chat_template"),
        "apr-format.md 8.7: import writes none",
    ),
    _defect(
        "chat-template-endless",
        "G3",
        "the template loops for ever",
        _set_templates(ENDLESS_TEMPLATE),
        "unbounded template code",
    ),
    _defect("rope-type-interleaved", "I-1", "rope_type 0 on Hugging Face rows", set_apr(rope_type=0), TABLE.format(1)),
    _defect("rope-theta-wrong", "I-1", "the rotary base is 10", set_apr(rope_theta=10.0), "default of another family"),
    _defect(
        "norm-epsilon-wrong", "G4", "the norm epsilon is 10", set_apr(rms_norm_eps=10.0), "eps read from another key"
    ),
    _defect(
        "attention-rows-permuted",
        "G4",
        "rows of the attention output are shifted",
        in_every_layer(LAYER + ATTENTION_OUT, lambda name: roll_rows(name, 7)),
        "head order lost",
    ),
    _defect(
        "rotary-rows-interleaved",
        "I-1",
        "q rows are in the GGUF order",
        in_every_layer(
            LAYER + "self_attn.q_proj.weight", lambda name: interleave_rows(name, lambda path: head_counts(path)[0])
        ),
        "GGUF imported without undoing the permutation",
    ),
    _defect(
        "head-zero",
        "G0",
        "the tied head is stored as zeros",
        zero(HEAD),
        "tied head lost in conversion (apr-format.md 8.4)",
    ),
    _defect(
        "tensor-renamed",
        "I-2",
        "a tensor has another name",
        rename(FIRST + MLP_DOWN, "blk.0.mlp_down.weight"),
        "half a rename",
    ),
    _defect(
        "type-fallback",
        "I-3",
        "one weight is stored as F32 without a word",
        convert(FIRST + MLP_DOWN, "F32"),
        "unknown dtype",
    ),
    _defect(
        "eight-bit-fallback",
        "I-3",
        "one weight is stored in 8 bits without a word",
        convert(FIRST + MLP_DOWN, "APR_Q8"),
        TABLE.format(4),
    ),
    _defect(
        "tensor-scaled", "I-4", "one tensor is a quarter too large", scale(FIRST + MLP_DOWN, 1.25), "scale rounding"
    ),
    _defect(
        "embedding-shifted", "G4", "embedding rows are shifted by one", roll_rows(EMBEDDING, 1), "inserted pad token"
    ),
    _defect(
        "tokenizer-shifted", "I-5", "every token is one id too high", edit_apr(_shift_vocabulary), "ids counted from 1"
    ),
    _defect("end-token-wrong", "I-5", "the end token is id 0", edit_apr(_wrong_end), "guessed eos (apr-format.md 8.7)"),
)
