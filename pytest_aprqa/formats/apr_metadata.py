"""The metadata object of an APR file: known keys with their types, aliases, and its one canonical JSON text.

The text equals the reference writer's byte for byte: key order, null rules, shortest floats (32-bit where declared).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pytest_aprqa.formats.errors import FormatError

#: named keys in write order -> kind: string, integer, f32, or the fields of an inner object.
NAMED_KEYS: Final[dict[str, str]] = {
    "model_type": "string",
    "name": "string",
    "description": "string",
    "author": "string",
    "license": "string",
    "data_source": "string",
    "data_license": "string",
    "version": "string",
    "source": "string",
    "original_format": "string",
    "created_at": "string",
    "total_size": "integer",
    "param_count": "integer",
    "quantization": "object",
    "sharding": "object",
    "chat_template": "string",
    "chat_format": "string",
    "special_tokens": "object",
    "architecture": "string",
    "hf_architecture": "string",
    "hf_model_type": "string",
    "hidden_size": "integer",
    "num_layers": "integer",
    "num_heads": "integer",
    "num_kv_heads": "integer",
    "vocab_size": "integer",
    "intermediate_size": "integer",
    "max_position_embeddings": "integer",
    "rope_theta": "f32",
    "rope_type": "integer",
    "rms_norm_eps": "f32",
    "head_dim": "integer",
    "num_experts": "integer",
    "num_experts_per_tok": "integer",
    "moe_intermediate_size": "integer",
}
ALWAYS_WRITTEN: Final = ("model_type", "license", "data_source", "data_license", "total_size", "param_count")
NEVER_NULL: Final = ("model_type", "total_size", "param_count")
INNER_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "quantization": ("quant_type", "bits", "block_size", "symmetric"),
    "sharding": ("shard_count", "shard_index", "total_size", "pattern"),
    "special_tokens": ("bos_token", "eos_token", "unk_token", "pad_token", "im_start_token", "im_end_token"),
}
ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "hidden_size": ("hidden_dim", "d_model", "n_embd"),
    "num_layers": ("n_layers", "num_hidden_layers", "n_layer"),
    "num_heads": ("n_heads", "num_attention_heads", "n_head"),
    "num_kv_heads": ("n_kv_heads", "num_key_value_heads"),
    "vocab_size": ("n_vocab",),
    "intermediate_size": ("ffn_dim", "intermediate_dim", "n_inner"),
    "max_position_embeddings": ("max_seq_len", "context_length", "n_ctx"),
    "rms_norm_eps": ("layer_norm_eps", "norm_eps"),
}
_CANONICAL: Final = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def alias_conflicts(metadata: Mapping[str, Any]) -> list[str]:
    """One line per dimension that METADATA names twice (canonical key and alias, or two aliases)."""
    lines = []
    for name, aliases in ALIASES.items():
        present = [key for key in (name, *aliases) if key in metadata]
        if len(present) > 1:
            lines.append(f"{' and '.join(present)} name the same value: the reference engine then drops all metadata")
    return lines


def canonical_keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """METADATA with aliases renamed; where both exist the canonical key wins and the alias is dropped."""
    result: dict[str, Any] = {}
    for key, value in metadata.items():
        name = _CANONICAL.get(key, key)
        if name == key or (name not in metadata and name not in result):
            result[name] = value
    return result


def check_types(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
    """FormatError when a named key holds a value of the wrong type, or null where null is an error."""
    for key, value in metadata.items():
        kind = NAMED_KEYS.get(_CANONICAL.get(key, key))
        if kind is None:
            continue
        if value is None:
            if key in NEVER_NULL:
                raise FormatError(path, f"metadata.{key}", "must not be null")
            continue
        if not _fits(kind, key, value):
            raise FormatError(path, f"metadata.{key}", "has the wrong type", found=value, limit=kind)


def _fits(kind: str, key: str, value: Any) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "object":
        return isinstance(value, dict)
    if isinstance(value, bool):
        return False
    if kind == "f32":
        return isinstance(value, (int, float)) and math.isfinite(_as_float(value))
    return isinstance(value, int) and 0 <= value < (2**32 if key == "rope_type" else 2**64)


def _as_float(value: float) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    except OverflowError:
        return math.inf


def canonical_metadata_json(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> bytes:
    """METADATA as canonical UTF-8 JSON: named keys in their order, then custom keys sorted; unset keys omitted.

    Aliases become canonical keys. FormatError: an alias beside its canonical key, a wrong type, a value not of JSON.
    Missing `total_size` and `param_count` become 0.
    """
    for line in alias_conflicts(metadata):
        raise FormatError(path, "metadata", line, advice="keep the canonical key only")
    given = canonical_keys(metadata)
    given = {"total_size": 0, "param_count": 0, **given}
    if "model_type" not in given:
        raise FormatError(path, "metadata.model_type", "is missing")
    check_types(path, given)
    parts: list[str] = []
    for key, kind in NAMED_KEYS.items():
        value = given.pop(key, None)
        if value is None and key not in ALWAYS_WRITTEN:
            continue
        if kind == "object":
            inner = INNER_KEYS[key]
            value = {name: value.get(name) for name in inner} | {k: v for k, v in value.items() if k not in inner}
        text = float_text(value, single=True) if kind == "f32" else _json(path, key, value)
        parts.append(f"{json.dumps(key)}:{text}")
    parts += [f"{json.dumps(key, ensure_ascii=False)}:{_json(path, key, given[key])}" for key in sorted(given)]
    try:
        return ("{" + ",".join(parts) + "}").encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(path, "metadata", "holds text that is not valid Unicode") from None


def _json(path: str | os.PathLike[str], key: str, value: Any) -> str:
    """Compact JSON with the float text of the reference writer."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FormatError(path, f"metadata.{key}", "is not a finite number", found=value)
        return float_text(value)
    if value is None or isinstance(value, (str, int)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        items = (f"{json.dumps(str(k), ensure_ascii=False)}:{_json(path, f'{key}.{k}', v)}" for k, v in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_json(path, key, item) for item in value) + "]"
    raise FormatError(path, f"metadata.{key}", "cannot be stored as JSON", found=type(value).__name__)


def float_text(value: float, *, single: bool = False) -> str:
    """Shortest decimal that reads back to VALUE (as a 32-bit float if SINGLE), written as Rust does.

    Plain notation for decimal exponents -6..12 (single) or -5..15 (double); otherwise like 1e-7 or 1.5e30.
    """
    number: np.floating[Any] = np.float32(value) if single else np.float64(value)
    if number == 0:
        return "-0.0" if math.copysign(1, number) < 0 else "0.0"
    mantissa, _, exponent_text = np.format_float_scientific(np.abs(number), unique=True, trim="-").partition("e")
    exponent, digits = int(exponent_text), mantissa.replace(".", "")
    sign = "-" if number < 0 else ""
    low, high = (-6, 12) if single else (-5, 15)
    if exponent < low or exponent > high:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{exponent}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    return f"{sign}{whole}.{digits[exponent + 1 :] or '0'}"
