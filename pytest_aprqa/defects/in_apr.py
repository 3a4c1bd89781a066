"""Defects of an APR file: container, metadata, tokenizer keys, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.declarations import edit_apr, head_counts, remove_apr_keys, set_apr
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.file_operations import declare_column_major, flip_bit, flip_bit_in_data, truncate
from pytest_aprqa.defects.index_operations import declare_type, lose_footer, misalign_last_tensor
from pytest_aprqa.defects.targets import (
    ATTENTION_NORM,
    ATTENTION_OUT,
    ENDLESS_TEMPLATE,
    FIRST,
    GATE,
    LAYER,
    MLP_DOWN,
    OTHER_TEMPLATE,
    QUERY_BIAS,
    RAISING_TEMPLATE,
    UP,
    end_at_once,
    exchange_layers,
    other_tokenizer,
)
from pytest_aprqa.defects.tensor_operations import (
    EMBEDDING,
    HEAD,
    Operation,
    add_to,
    convert,
    drop,
    duplicate,
    in_every_layer,
    interleave_rows,
    pass_through,
    put_value,
    rename,
    roll_rows,
    scale,
    swap,
    transpose,
    zero,
)

TABLE = origins.APR_RELEASE
F64_CODE = 3
VOCABULARY, MERGES = "tokenizer.vocabulary", "tokenizer.merges"


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str, **needs: Any) -> Defect:
    return Defect(f"apr-{name}", title, origin, "apr", gateway, operation, **needs)


def _shift_vocabulary(metadata: dict[str, Any]) -> None:
    tokens = metadata.get(VOCABULARY)
    if not tokens:
        raise DefectNotApplicableError("metadata", VOCABULARY, "the file has no vocabulary")
    metadata[VOCABULARY] = tokens[-1:] + tokens[:-1]


def _wrong_end(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.eos_token_id"] = 0


def _equal_heads(path: Path) -> None:
    heads, kv_heads = head_counts(path)
    if heads == kv_heads:
        raise DefectNotApplicableError(path, "num_kv_heads", "the model has no grouped queries")
    set_apr(num_kv_heads=heads)(path)


def _set_templates(template: str) -> Operation:
    return set_apr(chat_template=template, tokenizer__chat_template=template)


DEFECTS: tuple[Defect, ...] = (
    _defect(
        "header-bit-flipped",
        "G0",
        "one header bit is flipped",
        flip_bit(12, 0),
        TABLE.format("a damaged header or half a file is called valid"),
    ),
    _defect(
        "data-bit-flipped",
        "G0",
        "one bit of tensor data is flipped",
        flip_bit_in_data(6),
        TABLE.format("a flipped data bit passes every command"),
    ),
    _defect(
        "footer-bit-flipped",
        "G0",
        "one bit of the footer sum is flipped",
        flip_bit(-1, 3),
        TABLE.format("a flipped data bit passes every command"),
    ),
    _defect(
        "truncated",
        "G0",
        "half of the file is missing",
        truncate(0.5),
        TABLE.format("a damaged header or half a file is called valid"),
    ),
    _defect("column-major", "G0", "the forbidden column-major bit is set", declare_column_major, "LAYOUT-002"),
    _defect("footer-lost", "G0", "the checksum at the end is missing", lose_footer, origins.CUT_SHORT),
    _defect(
        "tensor-misaligned", "G0", "a tensor begins four bytes late", misalign_last_tensor, origins.PADDING_NOT_COUNTED
    ),
    _defect(
        "type-too-large",
        "G0",
        "a tensor is called F64 and has the bytes of another type",
        declare_type(FIRST + MLP_DOWN, F64_CODE),
        origins.TYPE_TOO_LARGE,
    ),
    _defect("layers-wrong", "G0", "metadata says 5 layers", set_apr(num_layers=5), "config of another size variant"),
    _defect(
        "hidden-size-wrong", "G0", "metadata says hidden_size 4096", set_apr(hidden_size=4096), "wrong defaults stamped"
    ),
    _defect("nan-in-tensor", "G0", "one weight is NaN", put_value(FIRST + MLP_DOWN, float("nan")), origins.NAN_BLOCKS),
    _defect(
        "tensor-all-zero", "G0", "a projection is all zeros", zero(FIRST + "mlp.up_proj.weight"), "unfilled buffer"
    ),
    _defect(
        "projection-transposed", "G0", "a projection is stored transposed", transpose(FIRST + MLP_DOWN), "LAYOUT-002"
    ),
    _defect("tensor-missing", "G1", "a norm is missing", drop("model.norm.weight"), origins.TENSOR_LOST),
    _defect(
        "tensor-extra",
        "G1",
        "a tensor too many",
        duplicate(FIRST + MLP_DOWN, FIRST + "mlp.spare.weight"),
        origins.TENSOR_LEFT,
    ),
    _defect(
        "tokenizer-dropped",
        "G1",
        "the whole tokenizer is gone",
        remove_apr_keys("tokenizer."),
        TABLE.format("convert drops the whole tokenizer"),
    ),
    _defect("merges-lost", "G1", "the tokenizer has no merges", remove_apr_keys(MERGES), origins.MERGES),
    _defect(
        "architecture-wrong",
        "G1",
        "metadata names a family that nobody knows",
        set_apr(architecture="nonesuch", hf_model_type="nonesuch"),
        origins.UNKNOWN_FAMILY,
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
        origins.STRICT_TEMPLATE,
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
        "measured: templates are code, and nothing bounds their loops",
        prompts=1,
    ),
    _defect(
        "rope-type-interleaved",
        "I-1",
        "rope_type 0 on Hugging Face rows",
        set_apr(rope_type=0),
        TABLE.format("import stamps rope_type 0 on half-split rows"),
    ),
    _defect("rope-theta-wrong", "I-1", "the rotary base is 10", set_apr(rope_theta=10.0), origins.ROPE_BASE),
    _defect("norm-epsilon-wrong", "G4", "the norm epsilon is 10", set_apr(rms_norm_eps=10.0), origins.NORM_EPSILON),
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
        origins.ROTARY_ROWS,
    ),
    _defect(
        "head-zero",
        "G0",
        "the tied head is stored as zeros",
        zero(HEAD),
        origins.UNTIED_HEAD,
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
        origins.SILENT_FALLBACK,
    ),
    _defect(
        "eight-bit-fallback",
        "I-3",
        "one weight is stored in 8 bits without a word",
        convert(FIRST + MLP_DOWN, "APR_Q8"),
        TABLE.format("rosetta convert quantises without being asked"),
    ),
    _defect(
        "tensor-scaled", "I-4", "one tensor is a quarter too large", scale(FIRST + MLP_DOWN, 1.25), "scale rounding"
    ),
    _defect(
        "embedding-shifted", "G4", "embedding rows are shifted by one", roll_rows(EMBEDDING, 1), origins.EMBEDDING_ROWS
    ),
    _defect(
        "tokenizer-shifted", "I-5", "every token is one id too high", edit_apr(_shift_vocabulary), "ids counted from 1"
    ),
    _defect("end-token-wrong", "I-5", "the end token is id 0", edit_apr(_wrong_end), origins.WRONG_END),
    _defect(
        "norms-plus-one",
        "I-4",
        "one is added to every attention norm",
        in_every_layer(LAYER + ATTENTION_NORM, lambda name: add_to(name, 1.0)),
        origins.NORM_PLUS_ONE,
    ),
    _defect("layers-swapped", "I-4", "first and last layer are exchanged", exchange_layers, origins.LAYER_ORDER),
    _defect("gate-and-up-swapped", "I-4", "gate and up projection are exchanged", swap(GATE, UP), origins.ROLES_MIXED),
    _defect("bias-lost", "I-2", "a query bias is missing", drop(QUERY_BIAS), origins.BIASES_LOST),
    _defect(
        "precision-lost",
        "I-4",
        "the MLP was rounded to 8 bits and is stored as the source's type",
        in_every_layer(LAYER + MLP_DOWN, lambda name: pass_through(name, "Q8_0")),
        TABLE.format("SafeTensors are served from a quantised copy without a word"),
    ),
    _defect("kv-heads-wrong", "G0", "num_kv_heads is num_heads", _equal_heads, origins.KV_HEADS),
    _defect("context-wrong", "G0", "the context is 64", set_apr(max_position_embeddings=64), origins.ROPE_SCALING),
    _defect(
        "tokenizer-of-another-model",
        "I-5",
        "half of the vocabulary has other ids",
        edit_apr(lambda metadata: metadata.update({VOCABULARY: other_tokenizer(metadata[VOCABULARY])})),
        origins.OTHER_TOKENIZER,
    ),
    _defect(
        "output-head-scaled",
        "I-4",
        "the copy of the tied head is a tenth too large",
        scale(HEAD, 1.1),
        origins.HEAD_COPY,
    ),
    _defect(
        "label-wrong",
        "I-3",
        "metadata says q6_k where no tensor is",
        set_apr(quantization={"quant_type": "q6_k", "bits": 6, "block_size": 256, "symmetric": True}),
        origins.OTHER_LABEL,
    ),
    _defect(
        "chat-templates-differ",
        "I-5",
        "the two keys of the chat template hold two templates",
        set_apr(chat_template=OTHER_TEMPLATE),
        origins.NO_TEMPLATE,
    ),
    _defect("begin-token-wrong", "I-5", "BOS is token 11", set_apr(tokenizer__bos_token_id=11), origins.WRONG_BEGIN),
    _defect("add-bos-wrong", "I-5", "a BOS token is added", set_apr(tokenizer__add_bos_token=True), origins.BOS_TWICE),
    _defect(
        "chat-template-of-another-model",
        "I-5",
        "the chat template is another family's",
        _set_templates(OTHER_TEMPLATE),
        origins.NO_TEMPLATE,
    ),
)
