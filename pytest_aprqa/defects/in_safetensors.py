"""Defects of a SafeTensors model folder: weights, config, tokenizer, template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.declarations import (
    GENERATION,
    TOKENIZER,
    edit_json,
    head_counts,
    set_chat_template,
    set_config,
    set_rope_theta,
)
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.file_operations import (
    ERROR_PAGE,
    GIT_LFS_POINTER,
    flip_bit,
    grow_safetensors_header,
    leave_stale_index,
    remove,
    replace_weights,
    split_and_lose_a_shard,
    truncate,
)
from pytest_aprqa.defects.index_operations import count_files_as_tensors
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
    output_head,
    overflow_activations,
)
from pytest_aprqa.defects.tensor_operations import (
    EMBEDDING,
    Operation,
    add_to,
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

NEWLINE_GLYPH = "Ċ"  # byte 10 in the alphabet of byte-level BPE
SEEN_G0 = "apr-model-qa-playbook defect of the 14/4096/896 config against 24/896/151936 tensors (gates.md 3.5)"


def _on_head(operation: Any) -> Operation:
    return lambda path: operation(output_head(path))(path)


def _strip_newlines_in_decoder(tokenizer: dict[str, Any]) -> None:
    """Strip up to three trailing newlines of each token: the library panics on a token that is one newline only."""
    strip = {"type": "Strip", "content": NEWLINE_GLYPH, "start": 0, "stop": 3}
    before = tokenizer.get("decoder")
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [strip, *([before] if before else [])]}


def _lose_merges(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"]["merges"] = []


def _shift_vocabulary(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    numbers = sorted(vocabulary.values())
    tokenizer["model"]["vocab"] = dict(zip(names, numbers[1:] + numbers[:1], strict=True))


def _lose_added_tokens(tokenizer: dict[str, Any]) -> None:
    if not tokenizer.get("added_tokens"):
        raise DefectNotApplicableError(TOKENIZER, "added_tokens", "the tokenizer has none")
    tokenizer["added_tokens"] = []


def _other_vocabulary(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    tokenizer["model"]["vocab"] = dict(zip(other_tokenizer(names), sorted(vocabulary.values()), strict=True))


def _add_token_without_row(folder: Path) -> None:
    rows = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    token = {"id": rows, "content": "[PAD]", "special": True, "normalized": False}
    token |= {"lstrip": False, "rstrip": False, "single_word": False}
    edit_json(TOKENIZER, lambda document: document["added_tokens"].append(token))(folder)


def _scale_rotation(config: dict[str, Any]) -> None:
    """Declare linear scaling: in `rope_parameters` of newer files, else in `rope_scaling`."""
    nested = config.get("rope_parameters")
    declared = nested if isinstance(nested, dict) else config.setdefault("rope_scaling", None) or {}
    declared |= {"rope_type": "linear", "factor": 4.0}
    config["rope_parameters" if isinstance(nested, dict) else "rope_scaling"] = declared


def _every_token_ends(folder: Path) -> None:
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    edit_json(GENERATION, lambda document: document.update(eos_token_id=list(range(size))))(folder)


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str, **needs: Any) -> Defect:
    return Defect(name, title, origin, "safetensors", gateway, operation, **needs)


def _layers(config: dict[str, Any]) -> int:
    return 5 if config["num_hidden_layers"] != 5 else 6


def _interleaved(role: str) -> Operation:
    index = 0 if role == "q" else 1
    name = LAYER + f"self_attn.{role}_proj.weight"
    return in_every_layer(name, lambda one: interleave_rows(one, lambda path: head_counts(path)[index]))


DEFECTS: tuple[Defect, ...] = (
    _defect("config-layers-wrong", "G0", "config.json says 5 layers", set_config(num_hidden_layers=_layers), SEEN_G0),
    _defect(
        "config-hidden-size-wrong", "G0", "config.json says hidden_size 4096", set_config(hidden_size=4096), SEEN_G0
    ),
    _defect(
        "config-vocabulary-wrong",
        "G0",
        "config.json gives the hidden size as vocab_size",
        set_config(vocab_size=lambda config: config["hidden_size"]),
        SEEN_G0,
    ),
    _defect(
        "config-heads-wrong",
        "G0",
        "config.json says twice the attention heads with the same head size",
        set_config(
            num_attention_heads=lambda config: 2 * config["num_attention_heads"],
            head_dim=lambda config: config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        ),
        origins.WRONG_SHAPE,
    ),
    _defect(
        "config-kv-heads-wrong",
        "G0",
        "config.json leaves grouped-query attention out",
        set_config(num_key_value_heads=lambda config: config["num_attention_heads"]),
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
        "infinity-in-tensor",
        "G0",
        "one weight is infinite",
        put_value(FIRST + ATTENTION_OUT, float("inf")),
        origins.FP16_OVERFLOW,
    ),
    _defect(
        "tensor-all-zero",
        "G0",
        "a projection is all zeros",
        zero(FIRST + "mlp.up_proj.weight"),
        "a tensor allocated and never filled after an interrupted save",
    ),
    _defect("weights-truncated", "G0", "the second half of the weights is missing", truncate(0.5), origins.CUT_SHORT),
    _defect(
        "header-bit-flipped", "G0", "one bit of the header is flipped", flip_bit(8, 1), "storage and transfer errors"
    ),
    _defect(
        "header-length-hostile",
        "G0",
        "the header claims to be 1 TiB long",
        grow_safetensors_header,
        "denial of service against readers without a limit",
    ),
    _defect(
        "projection-transposed",
        "G0",
        "an MLP projection is stored transposed",
        transpose(FIRST + MLP_DOWN),
        "LAYOUT-002: column-major weights imported without transposition",
    ),
    _defect(
        "head-transposed",
        "G0",
        "the output head (or tied embedding) is stored transposed",
        _on_head(transpose),
        "GH-202: output head with swapped dimensions gave PAD garbage",
    ),
    _defect("tensor-missing", "G1", "a norm is missing", drop("model.norm.weight"), origins.RANDOM_FILL),
    _defect(
        "layer-tensor-missing",
        "G1",
        "one projection of the first layer is missing",
        drop(FIRST + "self_attn.k_proj.weight"),
        origins.RANDOM_FILL,
    ),
    _defect(
        "tensor-extra",
        "G1",
        "an adapter tensor was left in the file",
        duplicate(FIRST + MLP_DOWN, FIRST + "mlp.down_proj.lora_A.weight"),
        origins.ADAPTER_LEFT,
    ),
    _defect("tokenizer-missing", "G1", "tokenizer.json is missing", remove(TOKENIZER), "uploads of the weights only"),
    _defect("config-missing", "G1", "config.json is missing", remove("config.json"), "uploads of the weights only"),
    _defect(
        "merges-lost",
        "G1",
        "the tokenizer has no merges",
        edit_json(TOKENIZER, _lose_merges),
        origins.MERGES,
    ),
    _defect("shard-missing", "G1", "one of two shards is missing", split_and_lose_a_shard, origins.SHARD_LOST),
    _defect(
        "architecture-unknown",
        "G1",
        "config.json names a family that nobody knows",
        set_config(model_type="nonesuch", architectures=["NonesuchForCausalLM"]),
        origins.UNKNOWN_FAMILY,
    ),
    _defect(
        "weights-are-lfs-pointer",
        "G1",
        "the weights are a Git LFS pointer",
        replace_weights(GIT_LFS_POINTER),
        origins.LFS_POINTER,
    ),
    _defect(
        "weights-are-error-page",
        "G1",
        "the weights are an HTML error page",
        replace_weights(ERROR_PAGE),
        origins.ERROR_PAGE,
    ),
    _defect(
        "end-row-scaled",
        "G2",
        "the head row of the end token is scaled, so that every answer ends before it begins",
        end_at_once,
        "fine-tunes whose new end-token row was never trained",
    ),
    _defect(
        "every-token-ends",
        "F-A",
        "generation_config.json lists every token as an end token",
        _every_token_ends,
        "an end-token list written from the whole vocabulary",
    ),
    _defect(
        "chat-template-raises",
        "G2",
        "the chat template refuses every conversation",
        set_chat_template(RAISING_TEMPLATE),
        origins.STRICT_TEMPLATE,
    ),
    _defect(
        "chat-template-lost",
        "G1",
        "there is no chat template",
        set_chat_template(None),
        origins.NO_TEMPLATE,
    ),
    _defect(
        "chat-template-endless",
        "G3",
        "the chat template loops for ever",
        set_chat_template(ENDLESS_TEMPLATE),
        "measured: templates are code, and nothing bounds their loops",
        prompts=1,
    ),
    _defect(
        "decoder-panics",
        "G3",
        "the tokenizer loads and encodes, then its decoder panics on an answer with a newline token",
        edit_json(TOKENIZER, _strip_newlines_in_decoder),
        "measured: index out of bounds in the Strip decoder of the tokenizers library 0.23",
        prompts=1,
    ),
    _defect(
        "mlp-scaled",
        "F-A",
        "MLP outputs are 30 times too large",
        in_every_layer(LAYER + MLP_DOWN, lambda name: scale(name, 30.0)),
        "scales of a quantisation applied twice",
    ),
    _defect(
        "mlp-rows-permuted",
        "G4",
        "rows of the MLP output are shifted",
        in_every_layer(LAYER + MLP_DOWN, lambda name: roll_rows(name, 7)),
        "rows permuted for a kernel and saved so",
    ),
    _defect(
        "attention-rows-permuted",
        "G4",
        "rows of the attention output are shifted",
        in_every_layer(LAYER + ATTENTION_OUT, lambda name: roll_rows(name, 7)),
        "head order lost when shards of tensor parallelism were joined",
    ),
    _defect(
        "embedding-shifted",
        "G4",
        "embedding rows are shifted by one token",
        roll_rows(EMBEDDING, 1),
        origins.EMBEDDING_ROWS,
    ),
    _defect(
        "rotary-rows-interleaved",
        "F-A",
        "q and k rows are in the GGUF order under Hugging Face names",
        together(_interleaved("q"), _interleaved("k")),
        origins.ROTARY_ROWS,
    ),
    _defect("rope-theta-wrong", "F-A", "the rotary base is 10", set_rope_theta(10.0), origins.ROPE_BASE),
    _defect("norm-epsilon-wrong", "G4", "the norm epsilon is 10", set_config(rms_norm_eps=10.0), origins.NORM_EPSILON),
    _defect("layers-swapped", "F-A", "first and last layer are exchanged", exchange_layers, origins.LAYER_ORDER),
    _defect(
        "tensor-renamed",
        "G1",
        "a tensor has the name of another framework",
        rename(FIRST + MLP_DOWN, "transformer.h.0.mlp.c_proj.weight"),
        "checkpoints converted without the last renaming step",
    ),
    _defect(
        "tokenizer-shifted",
        "F-A",
        "every token id is one too high",
        edit_json(TOKENIZER, _shift_vocabulary),
        "a vocabulary counted from 1",
    ),
    _defect(
        "added-tokens-lost",
        "F-A",
        "special tokens are gone from the tokenizer",
        edit_json(TOKENIZER, _lose_added_tokens),
        origins.ADDED_TOKENS,
    ),
    _defect("bias-lost", "G1", "a query bias is missing", drop(QUERY_BIAS), origins.BIASES_LOST),
    _defect(
        "norms-minus-one",
        "I-4",
        "one is taken from every attention norm",
        in_every_layer(LAYER + ATTENTION_NORM, lambda name: add_to(name, -1.0)),
        origins.NORM_PLUS_ONE,
    ),
    _defect("gate-and-up-swapped", "I-4", "gate and up projection are exchanged", swap(GATE, UP), origins.ROLES_MIXED),
    _defect(
        "precision-lost",
        "I-4",
        "the MLP was rounded to 8 bits and is stored as the source's type",
        in_every_layer(LAYER + MLP_DOWN, lambda name: pass_through(name, "Q8_0")),
        "weights of a quantised file published again as if they were the original",
    ),
    _defect(
        "rope-scaling-added",
        "G0",
        "linear rotary scaling by 4 that the weights were not trained with",
        edit_json("config.json", _scale_rotation),
        origins.ROPE_SCALING,
    ),
    _defect("index-stale", "G0", "the index names shards of an earlier upload", leave_stale_index, origins.STALE_INDEX),
    _defect(
        "index-counts-files",
        "G0",
        "the index gives the size of the files as that of the tensors",
        count_files_as_tensors,
        origins.FILES_COUNTED,
    ),
    _defect(
        "embedding-scaled",
        "I-4",
        "the embedding is scaled by the root of the hidden size",
        scale_by_root_of_width(EMBEDDING),
        origins.EMBEDDING_SCALED,
    ),
    _defect(
        "activations-overflow",
        "I-4",
        "finite weights of one MLP whose products are infinite",
        overflow_activations,
        origins.ACTIVATIONS_OVERFLOW,
    ),
    _defect(
        "vocabulary-beyond-embedding",
        "G1",
        "a padding token was added without a row in the embedding",
        _add_token_without_row,
        origins.VOCABULARY_SIZE,
    ),
    _defect(
        "generation-config-stale",
        "I-5",
        "generation_config.json ends with token 0",
        edit_json(GENERATION, lambda document: document.update(eos_token_id=0)),
        origins.WRONG_END,
    ),
    _defect(
        "tokenizer-of-another-model",
        "I-5",
        "half of the vocabulary has other ids",
        edit_json(TOKENIZER, _other_vocabulary),
        origins.OTHER_TOKENIZER,
    ),
    _defect(
        "chat-template-of-another-model",
        "I-5",
        "the chat template is another family's",
        set_chat_template(OTHER_TEMPLATE),
        origins.NO_TEMPLATE,
    ),
)
