"""Writes a random model: weights in one or several files, config.json, tokenizer, generation settings, template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.families import expected_tensors
from pytest_aprqa.random_models.shape import ModelShape, random_shape
from pytest_aprqa.random_models.tokenizer import ROLES, TEMPLATES, token_ids, tokenizer_document

CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
CLASSES |= {"qwen3": "Qwen3ForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM"}
CLASSES |= {"phi3": "Phi3ForCausalLM", "falcon": "FalconForCausalLM", "starcoder2": "Starcoder2ForCausalLM"}
# What the config.json of a family has besides, or under another name (public configuration code).
_GELU = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
_SOFT_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
_OF_FAMILY: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},
    "gemma": _GELU,
    "gemma2": _GELU | _SOFT_CAPS | {"sliding_window": 4096},
    "phi3": {"sliding_window": None, "pad_token_id": 0, "original_max_position_embeddings": 4096},
    "falcon": {"bias": False, "alibi": False, "parallel_attn": True, "multi_query": True, "activation": "gelu"},
    "starcoder2": {"use_bias": True, "hidden_act": "gelu_pytorch_tanh", "sliding_window": None},
}
# Names of one family for fields that the others share, and fields that it does not have.
_RENAMED = {
    "falcon": {"intermediate_size": "ffn_hidden_size", "rms_norm_eps": "layer_norm_epsilon"},
    "starcoder2": {"rms_norm_eps": "norm_epsilon"},
}
_WITHOUT_HEAD_DIM = ("phi3", "falcon", "starcoder2")
WORDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def random_model_folder(folder: Path, seed: int, **shape: Any) -> Path:
    """Write the random model of `seed` into `folder` (created if need be) and return it. No torch; about 20 ms.

    `shape` sets fields of ModelShape, the seed decides the others. Equal arguments give equal bytes. ValueError: a
    shape that is no model.
    """
    wanted = random_shape(seed, **{name: value for name, value in shape.items() if value is not None})
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_document(wanted, seed)
    ids = token_ids(tokenizer)
    _write(folder / "tokenizer.json", tokenizer)
    _write(folder / "config.json", _config(wanted, ids))
    _write(folder / "generation_config.json", _generation(wanted, ids))
    settings = _settings(wanted)
    template = TEMPLATES[wanted.template]
    if template is not None and wanted.template_file:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    elif template is not None:
        settings["chat_template"] = template
    _write(folder / "tokenizer_config.json", settings)
    _write_weights(folder, wanted, seed)
    return folder


def _config(shape: ModelShape, ids: dict[str, int]) -> dict[str, Any]:
    begin, end, _ = ROLES[shape.template]
    fields = {
        "architectures": [CLASSES[shape.family]],
        "model_type": shape.family,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": max(ids.values()) + 1 + shape.extra_rows,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied,
        "hidden_act": "silu",
        "bos_token_id": ids[begin],
        "eos_token_id": ids[end],
        "torch_dtype": WORDS[shape.dtype],
        **_OF_FAMILY.get(shape.family, {}),
    }
    if shape.family in _WITHOUT_HEAD_DIM:
        del fields["head_dim"]
    renamed = _RENAMED.get(shape.family, {})
    return {renamed.get(name, name): value for name, value in fields.items()}


def _generation(shape: ModelShape, ids: dict[str, int]) -> dict[str, Any]:
    begin, end, turn = ROLES[shape.template]
    ends = [ids[turn], ids[end]] if turn is not None else ids[end]
    return {"bos_token_id": ids[begin], "eos_token_id": ends, "pad_token_id": ids[end], "do_sample": False}


def _settings(shape: ModelShape) -> dict[str, Any]:
    begin, end, turn = ROLES[shape.template]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": shape.add_bos,
        "bos_token": begin,
        "eos_token": turn or end,
        "pad_token": end,
    }


def _write_weights(folder: Path, shape: ModelShape, seed: int) -> None:
    """The tensors that the family asks for, in as many files as the shape says, with an index if they are several."""
    shapes = expected_tensors(config_from_hf(folder))
    draw = np.random.default_rng(seed)
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for name, dims in shapes.items():
        dtype = "F32" if len(dims) == 1 and shape.plain_vectors else shape.dtype
        tensors[name] = (dtype, dims, codecs.encode(dtype, _values(draw, name, dims)))
    names = sorted(tensors)
    count = min(shape.shards, len(names))
    if count == 1:
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number in range(count):
        part = names[number::count]
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        write_safetensors(folder / file, {name: tensors[name] for name in part}, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(len(data) for _, _, data in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    _write(folder / "model.safetensors.index.json", index)


def _values(draw: np.random.Generator, name: str, dims: tuple[int, ...]) -> NDArray[np.float32]:
    """Values of the size that trained weights have: norms near 1, biases 0.2, rows of matrices of length about 2."""
    values = draw.standard_normal(dims, dtype=np.float32)
    if "norm" in name:
        return np.float32(1.0) + np.float32(0.1) * values
    if name.endswith(".bias"):
        return np.float32(0.2) * values
    return values * np.float32(1.0 if "embed" in name else 2.0 / dims[-1] ** 0.5)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
