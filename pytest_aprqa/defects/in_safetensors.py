"""Defects of a SafeTensors model folder: weights, config, tokenizer, template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    remove,
    replace_weights,
    split_and_lose_a_shard,
    truncate,
)
from pytest_aprqa.defects.targets import (
    ATTENTION_OUT,
    ENDLESS_TEMPLATE,
    FIRST,
    LAYER,
    MLP_DOWN,
    RAISING_TEMPLATE,
    end_at_once,
    output_head,
)
from pytest_aprqa.defects.tensor_operations import (
    EMBEDDING,
    Operation,
    drop,
    duplicate,
    in_every_layer,
    interleave_rows,
    put_value,
    rename,
    roll_rows,
    scale,
    swap_layers,
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


def _every_token_ends(folder: Path) -> None:
    import json

    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    edit_json(GENERATION, lambda document: document.update(eos_token_id=list(range(size))))(folder)


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str) -> Defect:
    return Defect(name, title, origin, "safetensors", gateway, operation)


def _layer_swap(path: Path) -> None:
    for role in (ATTENTION_OUT, MLP_DOWN, "mlp.up_proj.weight", "mlp.gate_proj.weight"):
        swap_layers(LAYER + role)(path)


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
        "config of another size variant copied beside the weights",
    ),
    _defect(
        "config-kv-heads-wrong",
        "G0",
        "config.json leaves grouped-query attention out",
        set_config(num_key_value_heads=lambda config: config["num_attention_heads"]),
        "importers that default num_key_value_heads to num_attention_heads (apr-format.md 8.7)",
    ),
    _defect(
        "nan-in-tensor",
        "G0",
        "one weight is NaN",
        put_value(FIRST + MLP_DOWN, float("nan")),
        "overflowed fp16 training runs; every public GGUF and SafeTensors reader accepts it (field notes)",
    ),
    _defect(
        "infinity-in-tensor",
        "G0",
        "one weight is infinite",
        put_value(FIRST + ATTENTION_OUT, float("inf")),
        "BF16 weights above 65504 converted to F16",
    ),
    _defect(
        "tensor-all-zero",
        "G0",
        "a projection is all zeros",
        zero(FIRST + "mlp.up_proj.weight"),
        "a tensor allocated and never filled after an interrupted save",
    ),
    _defect("weights-truncated", "G0", "the second half of the weights is missing", truncate(0.5), "broken downloads"),
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
    _defect(
        "tensor-missing", "G1", "a norm is missing", drop("model.norm.weight"), "partial uploads and pruning scripts"
    ),
    _defect(
        "layer-tensor-missing",
        "G1",
        "one projection of the first layer is missing",
        drop(FIRST + "self_attn.k_proj.weight"),
        "loaders that fill missing weights with random ones and only warn",
    ),
    _defect(
        "tensor-extra",
        "G1",
        "an adapter tensor was left in the file",
        duplicate(FIRST + MLP_DOWN, FIRST + "mlp.down_proj.lora_A.weight"),
        "fine-tunes published without merging the adapter",
    ),
    _defect("tokenizer-missing", "G1", "tokenizer.json is missing", remove(TOKENIZER), "uploads of the weights only"),
    _defect("config-missing", "G1", "config.json is missing", remove("config.json"), "uploads of the weights only"),
    _defect(
        "merges-lost",
        "G1",
        "the tokenizer has no merges",
        edit_json(TOKENIZER, _lose_merges),
        "vocab.json published without merges.txt",
    ),
    _defect("shard-missing", "G1", "one of two shards is missing", split_and_lose_a_shard, "interrupted downloads"),
    _defect(
        "architecture-unknown",
        "G1",
        "config.json names a family that nobody knows",
        set_config(model_type="nonesuch", architectures=["NonesuchForCausalLM"]),
        "models that need remote code",
    ),
    _defect(
        "weights-are-lfs-pointer",
        "G1",
        "the weights are a Git LFS pointer",
        replace_weights(GIT_LFS_POINTER),
        "clones without git-lfs",
    ),
    _defect(
        "weights-are-error-page",
        "G1",
        "the weights are an HTML error page",
        replace_weights(ERROR_PAGE),
        "downloads of gated models without a token",
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
        "templates that demand a system turn or alternating roles",
    ),
    _defect(
        "chat-template-lost",
        "G1",
        "there is no chat template",
        set_chat_template(None),
        "apr convert, apr export (data table 2)",
    ),
    _defect(
        "chat-template-endless",
        "G3",
        "the chat template loops for ever",
        set_chat_template(ENDLESS_TEMPLATE),
        "templates are code; nothing bounds their loops",
    ),
    _defect(
        "decoder-panics",
        "G3",
        "the tokenizer loads and encodes, then its decoder panics on an answer with a newline token",
        edit_json(TOKENIZER, _strip_newlines_in_decoder),
        "index out of bounds in the Strip decoder of the tokenizers library (measured with 0.23)",
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
        "a padding token inserted at id 0 of the embedding but not of the tokenizer",
    ),
    _defect(
        "rotary-rows-interleaved",
        "F-A",
        "q and k rows are in the GGUF order under Hugging Face names",
        together(_interleaved("q"), _interleaved("k")),
        "GGUF imported without undoing the q/k permutation",
    ),
    _defect(
        "rope-theta-wrong", "F-A", "the rotary base is 10", set_rope_theta(10.0), "rope_theta default of another family"
    ),
    _defect(
        "norm-epsilon-wrong", "G4", "the norm epsilon is 10", set_config(rms_norm_eps=10.0), "eps read from another key"
    ),
    _defect(
        "layers-swapped", "F-A", "first and last layer are exchanged", _layer_swap, "layers sorted as text: 10 before 2"
    ),
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
        "lifecycle.md 1.1: stamp does not include added_tokens",
    ),
)
