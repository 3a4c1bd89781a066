"""Defects of a GGUF file: container, keys, tokenizer, weights and their order."""

from __future__ import annotations

import struct
from typing import Any

from pytest_aprqa.defects.declarations import edit_gguf, head_counts, remove_gguf, set_gguf
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.file_operations import flip_bit, overwrite, truncate
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
    swap_halves_of_scales,
    together,
    transpose,
    zero,
)

TABLE = "data/README table of the released apr 0.72.3, row {}"
TOKENS = "tokenizer.ggml.tokens"
TEMPLATE = "tokenizer.chat_template"


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str) -> Defect:
    return Defect(f"gguf-{name}", title, origin, "gguf", gateway, operation)


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
    _defect("truncated", "G0", "half of the file is missing", truncate(0.5), "broken downloads"),
    _defect(
        "count-hostile",
        "G0",
        "the header claims 2^62 key-values",
        overwrite(16, struct.pack("<Q", 1 << 62)),
        "gguf 0.19.0 hangs on hostile counts (field notes)",
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
        "grouped queries mis-declared",
    ),
    _defect(
        "nan-in-tensor",
        "G0",
        "one weight is NaN",
        put_value(FIRST + MLP_DOWN, float("nan")),
        "gguf accepts all-NaN data",
    ),
    _defect(
        "tensor-all-zero", "G0", "a projection is all zeros", zero(FIRST + "mlp.up_proj.weight"), "unfilled buffer"
    ),
    _defect(
        "projection-transposed", "G0", "a projection is transposed", transpose(FIRST + MLP_DOWN), "dims not reversed"
    ),
    _defect("tensor-missing", "G1", "the final norm is missing", drop("model.norm.weight"), "partial conversion"),
    _defect(
        "tensor-extra",
        "G1",
        "a tensor too many",
        duplicate(FIRST + MLP_DOWN, "blk.0.spare.weight"),
        "left-over buffers",
    ),
    _defect("tokens-lost", "G1", "the file has no tokens", remove_gguf(TOKENS), "vocabulary-free conversions"),
    _defect(
        "merges-lost", "G1", "the file has no merges", remove_gguf("tokenizer.ggml.merges"), "vocabulary without merges"
    ),
    _defect(
        "architecture-unknown",
        "G1",
        "general.architecture is unknown",
        set_gguf("general.architecture", "nonesuch"),
        "files newer than the engine",
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
        "strict templates",
    ),
    _defect("chat-template-lost", "G1", "there is no chat template", remove_gguf(TEMPLATE), TABLE.format(2)),
    _defect(
        "chat-template-endless",
        "G3",
        "the template loops for ever",
        set_gguf(TEMPLATE, ENDLESS_TEMPLATE),
        "template code",
    ),
    _defect(
        "rotary-permutation-wrong",
        "I-1",
        "q and k rows are in the other rotary order than the family's",
        together(_interleaved("q"), _interleaved("k")),
        "converters without the q/k permutation",
    ),
    _defect(
        "rope-theta-wrong", "I-1", "the rotary base is 10", set_gguf("{arch}.rope.freq_base", 10.0), "base not written"
    ),
    _defect(
        "norm-epsilon-wrong",
        "G4",
        "the norm epsilon is 10",
        set_gguf("{arch}.attention.layer_norm_rms_epsilon", 10.0),
        "eps read from another key",
    ),
    _defect(
        "attention-rows-permuted",
        "G4",
        "rows of the attention output are shifted",
        in_every_layer(LAYER + ATTENTION_OUT, lambda name: roll_rows(name, 7)),
        "head order lost",
    ),
    _defect(
        "scales-byte-swapped",
        "G4",
        "block scales have the other byte order",
        swap_halves_of_scales(FIRST + MLP_DOWN),
        "big-endian writers (Q8_0 files only)",
    ),
    _defect(
        "tensor-renamed",
        "I-2",
        "a tensor has another name",
        rename(FIRST + MLP_DOWN, "blk.0.mlp_down.weight"),
        "half a rename",
    ),
    _defect("type-fallback", "I-3", "one weight is stored as F32", convert(FIRST + MLP_DOWN, "F32"), "unknown dtype"),
    _defect(
        "eight-bit-fallback", "I-3", "one weight is stored as Q8_0", convert(FIRST + MLP_DOWN, "Q8_0"), TABLE.format(4)
    ),
    _defect(
        "tensor-scaled", "I-4", "one tensor is a quarter too large", scale(FIRST + MLP_DOWN, 1.25), "scale rounding"
    ),
    _defect(
        "embedding-shifted", "G4", "embedding rows are shifted by one", roll_rows(EMBEDDING, 1), "inserted pad token"
    ),
    _defect(
        "tokenizer-shifted", "I-5", "every token is one id too high", edit_gguf(TOKENS, _shift), "ids counted from 1"
    ),
    _defect(
        "pre-tokenizer-wrong",
        "I-5",
        "the pre-tokenizer is guessed",
        set_gguf("tokenizer.ggml.pre", "default"),
        TABLE.format(2),
    ),
    _defect(
        "token-types-lost",
        "I-5",
        "special tokens are ordinary text",
        remove_gguf("tokenizer.ggml.token_type"),
        TABLE.format(2),
    ),
    _defect(
        "bos-policy-lost",
        "I-5",
        "the BOS policy is not written",
        edit_gguf("tokenizer.ggml.add_bos_token", _lose_bos_policy),
        TABLE.format(2),
    ),
)
