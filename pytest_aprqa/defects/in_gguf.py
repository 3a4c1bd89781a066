"""Defects of a GGUF file: container, keys, tokenizer, weights and their order."""

from __future__ import annotations

import struct
from typing import Any

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.declarations import add_gguf, edit_gguf, head_counts, remove_gguf, set_gguf
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.file_operations import flip_bit, overwrite, truncate
from pytest_aprqa.defects.index_operations import declare_type, misalign_last_tensor
from pytest_aprqa.defects.targets import (
    ATTENTION_NORM,
    ATTENTION_OUT,
    ENDLESS_TEMPLATE,
    FIRST,
    GATE,
    GGUF_HEAD,
    LAYER,
    MLP_DOWN,
    MLP_NORM,
    OTHER_TEMPLATE,
    QUERY_BIAS,
    RAISING_TEMPLATE,
    UP,
    add_bos,
    add_padding_tokens,
    end_at_once,
    exchange_layers,
    flood_with_padding,
    other_tokenizer,
    separate_head,
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
    scale_by_root_of_width,
    swap,
    together,
    transpose,
    zero,
)

TABLE = origins.APR_RELEASE
UNKNOWN_TYPE = 142  # 42 is a type by now
TOKENS = "tokenizer.ggml.tokens"
TEMPLATE = "tokenizer.chat_template"


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str, **needs: Any) -> Defect:
    return Defect(f"gguf-{name}", title, origin, "gguf", gateway, operation, **needs)


def _shift(values: Any) -> Any:
    return values[-1:] + values[:-1]


def _lose_bos_policy(add_bos: Any) -> None:
    if not add_bos:
        raise DefectNotApplicableError("tokenizer.ggml.add_bos_token", "lost", "the model adds no BOS anyway")


def _interleaved(role: str) -> Operation:
    index = 0 if role == "q" else 1
    name = LAYER + f"self_attn.{role}_proj.weight"
    return in_every_layer(name, lambda one: interleave_rows(one, lambda path: head_counts(path)[index]))


DEFECTS: tuple[Defect, ...] = (
    _defect("magic-bit-flipped", "G0", "one bit of the magic is flipped", flip_bit(0, 0), "transfer errors"),
    _defect("truncated", "G0", "half of the file is missing", truncate(0.5), origins.CUT_SHORT),
    _defect(
        "count-hostile",
        "G0",
        "the header claims 2^62 key-values",
        overwrite(16, struct.pack("<Q", 1 << 62)),
        origins.HOSTILE_COUNT,
    ),
    _defect(
        "tensor-misaligned", "G0", "a tensor begins four bytes late", misalign_last_tensor, origins.PADDING_NOT_COUNTED
    ),
    _defect(
        "type-unknown",
        "G0",
        "a tensor has a type that nobody knows",
        declare_type(FIRST + MLP_DOWN, UNKNOWN_TYPE),
        origins.TYPE_UNKNOWN,
    ),
    _defect(
        "layers-wrong", "G0", "block_count says 5 layers", set_gguf("{arch}.block_count", 5), "keys of another size"
    ),
    _defect(
        "hidden-size-wrong", "G0", "embedding_length is 4096", set_gguf("{arch}.embedding_length", 4096), "wrong keys"
    ),
    _defect(
        "kv-heads-wrong",
        "G0",
        "head_count_kv is 1",
        set_gguf("{arch}.attention.head_count_kv", 1),
        origins.KV_HEADS,
    ),
    _defect(
        "nan-in-tensor",
        "G0",
        "one weight is NaN",
        put_value(FIRST + MLP_DOWN, float("nan")),
        origins.NAN_BLOCKS,
    ),
    _defect(
        "tensor-all-zero", "G0", "a projection is all zeros", zero(FIRST + "mlp.up_proj.weight"), "unfilled buffer"
    ),
    _defect(
        "projection-transposed", "G0", "a projection is transposed", transpose(FIRST + MLP_DOWN), "dims not reversed"
    ),
    _defect("tensor-missing", "G1", "the final norm is missing", drop("model.norm.weight"), origins.TENSOR_LOST),
    _defect(
        "tensor-extra",
        "G1",
        "a tensor too many",
        duplicate(FIRST + MLP_DOWN, "blk.0.spare.weight"),
        origins.TENSOR_LEFT,
    ),
    _defect("tokens-lost", "G1", "the file has no tokens", remove_gguf(TOKENS), "vocabulary-free conversions"),
    _defect("merges-lost", "G1", "the file has no merges", remove_gguf("tokenizer.ggml.merges"), origins.MERGES),
    _defect(
        "architecture-unknown",
        "G1",
        "general.architecture is unknown",
        set_gguf("general.architecture", "nonesuch"),
        origins.UNKNOWN_FAMILY,
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
        set_gguf(TEMPLATE, RAISING_TEMPLATE),
        origins.STRICT_TEMPLATE,
    ),
    _defect("chat-template-lost", "G1", "there is no chat template", remove_gguf(TEMPLATE), origins.NO_TEMPLATE),
    _defect(
        "chat-template-endless",
        "G3",
        "the template loops for ever",
        set_gguf(TEMPLATE, ENDLESS_TEMPLATE),
        "measured: templates are code, and nothing bounds their loops",
        prompts=1,
    ),
    _defect(
        "rotary-permutation-wrong",
        "I-1",
        "q and k rows are in the other rotary order than the family's",
        together(_interleaved("q"), _interleaved("k")),
        origins.ROTARY_ROWS,
    ),
    _defect(
        "rope-theta-wrong", "I-1", "the rotary base is 10", set_gguf("{arch}.rope.freq_base", 10.0), origins.ROPE_BASE
    ),
    _defect(
        "norm-epsilon-wrong",
        "G4",
        "the norm epsilon is 10",
        set_gguf("{arch}.attention.layer_norm_rms_epsilon", 10.0),
        origins.NORM_EPSILON,
    ),
    _defect(
        "attention-rows-permuted",
        "G4",
        "rows of the attention output are shifted",
        in_every_layer(LAYER + ATTENTION_OUT, lambda name: roll_rows(name, 7)),
        "head order lost",
    ),
    _defect(
        "tensor-renamed",
        "I-2",
        "a tensor has another name",
        rename(FIRST + MLP_DOWN, "blk.0.mlp_down.weight"),
        "half a rename",
    ),
    _defect(
        "type-fallback", "I-3", "one weight is stored as F32", convert(FIRST + MLP_DOWN, "F32"), origins.SILENT_FALLBACK
    ),
    _defect(
        "eight-bit-fallback",
        "I-3",
        "one weight is stored as Q8_0",
        convert(FIRST + MLP_DOWN, "Q8_0"),
        TABLE.format("rosetta convert quantises without being asked"),
    ),
    _defect(
        "tensor-scaled", "I-4", "one tensor is a quarter too large", scale(FIRST + MLP_DOWN, 1.25), "scale rounding"
    ),
    _defect(
        "embedding-shifted", "G4", "embedding rows are shifted by one", roll_rows(EMBEDDING, 1), origins.EMBEDDING_ROWS
    ),
    _defect(
        "embedding-scaled",
        "I-4",
        "the embedding is scaled by the root of the hidden size",
        scale_by_root_of_width(EMBEDDING),
        origins.EMBEDDING_SCALED,
    ),
    _defect(
        "tokenizer-shifted", "I-5", "every token is one id too high", edit_gguf(TOKENS, _shift), "ids counted from 1"
    ),
    _defect(
        "pre-tokenizer-wrong",
        "I-5",
        "the pre-tokenizer is guessed",
        set_gguf("tokenizer.ggml.pre", "default"),
        origins.PRE_TOKENIZER,
    ),
    _defect(
        "token-types-lost",
        "I-5",
        "special tokens are ordinary text",
        remove_gguf("tokenizer.ggml.token_type"),
        origins.TYPES_OF_TOKENS,
    ),
    _defect(
        "bos-policy-lost",
        "I-5",
        "the BOS policy is not written",
        edit_gguf("tokenizer.ggml.add_bos_token", _lose_bos_policy),
        origins.BOS_TWICE,
        before=add_bos,
    ),
    _defect(
        "head-lost",
        "I-2",
        "the model has a head of its own, the file has none",
        drop(HEAD),
        origins.UNTIED_HEAD,
        before=separate_head,
    ),
    _defect(
        "norms-plus-one",
        "I-4",
        "one is added to every attention norm",
        in_every_layer(LAYER + ATTENTION_NORM, lambda name: add_to(name, 1.0)),
        origins.NORM_PLUS_ONE,
    ),
    _defect(
        "norms-scaled",
        "I-4",
        "an MLP norm is 1.4 times its source's",
        scale(FIRST + MLP_NORM, 1.4),
        origins.NORMS_SCALED,
    ),
    _defect(
        "output-head-scaled",
        "I-4",
        "the tied head is stored as a copy that is a tenth too large",
        together(duplicate(EMBEDDING, GGUF_HEAD), scale(GGUF_HEAD, 1.1)),
        origins.HEAD_COPY,
    ),
    _defect("layers-swapped", "I-4", "first and last layer are exchanged", exchange_layers, origins.LAYER_ORDER),
    _defect("gate-and-up-swapped", "I-4", "gate and up projection are exchanged", swap(GATE, UP), origins.ROLES_MIXED),
    _defect("bias-lost", "I-2", "a query bias is missing", drop(QUERY_BIAS), origins.BIASES_LOST),
    _defect("bias-zero", "G0", "a query bias is all zeros", zero(QUERY_BIAS), origins.BIASES_LOST),
    _defect(
        "precision-lost",
        "I-4",
        "the MLP was rounded to 8 bits and is stored as the source's type",
        in_every_layer(LAYER + MLP_DOWN, lambda name: pass_through(name, "Q8_0")),
        TABLE.format("SafeTensors are served from a quantised copy without a word"),
    ),
    _defect(
        "rope-scaling-added",
        "G0",
        "linear rotary scaling by 4 that the source does not have",
        add_gguf(("{arch}.rope.scaling.type", "string", "linear"), ("{arch}.rope.scaling.factor", "float32", 4.0)),
        origins.ROPE_SCALING,
    ),
    _defect("context-wrong", "G0", "context_length is 64", set_gguf("{arch}.context_length", 64), origins.ROPE_SCALING),
    _defect(
        "split-part-lost",
        "G0",
        "the file says that it is one of two",
        add_gguf(("split.count", "uint16", 2), ("split.no", "uint16", 0)),
        origins.SPLIT_LOST,
    ),
    _defect(
        "byte-order-foreign",
        "G0",
        "the header is in the other byte order",
        overwrite(4, struct.pack(">I", 3)),
        origins.BYTE_ORDER,
    ),
    _defect(
        "add-bos-wrong",
        "I-5",
        "a BOS token is added that the source does not add",
        edit_gguf("tokenizer.ggml.add_bos_token", lambda value: not value),
        origins.BOS_TWICE,
    ),
    _defect(
        "end-token-wrong", "I-5", "the end token is id 0", set_gguf("tokenizer.ggml.eos_token_id", 0), origins.WRONG_END
    ),
    _defect(
        "control-tokens-normal",
        "I-5",
        "every token is typed as normal text",
        edit_gguf("tokenizer.ggml.token_type", lambda types: [1] * len(types)),
        origins.TYPES_OF_TOKENS,
    ),
    _defect(
        "tokenizer-of-another-model",
        "I-5",
        "half of the vocabulary has other ids",
        edit_gguf(TOKENS, other_tokenizer),
        origins.OTHER_TOKENIZER,
    ),
    _defect(
        "merges-reordered",
        "I-5",
        "the merges are in reverse order",
        edit_gguf("tokenizer.ggml.merges", lambda merges: merges[::-1]),
        origins.OTHER_TOKENIZER,
    ),
    _defect(
        "vocabulary-cut",
        "I-5",
        "the last tokens are missing",
        edit_gguf((TOKENS, "tokenizer.ggml.token_type"), lambda items: items[:-8]),
        origins.VOCABULARY_SIZE,
    ),
    _defect(
        "chat-template-of-another-model",
        "I-5",
        "the chat template is another family's",
        set_gguf(TEMPLATE, OTHER_TEMPLATE),
        origins.NO_TEMPLATE,
    ),
    _defect(
        "conversion-not-repeated",
        "I-1",
        "a converter wrote its time into the file",
        add_gguf(("general.date", "string", "2026-01-01T00:00:00Z")),
        "measured: files of two runs of one converter that differ in their sha256",
        derived=True,
    ),
    _defect(
        "padding-flood",
        "I-2",
        "a head of its own, whose rows of two padding tokens outweigh all others",
        flood_with_padding,
        "measured upstream (GH-202): an output head with swapped dimensions floods the answer with padding",
        before=add_padding_tokens,
    ),
)
