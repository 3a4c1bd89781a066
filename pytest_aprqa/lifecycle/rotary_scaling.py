"""Rotary scaling in a derived file: what a file can say of it, and what llama.cpp computes as the model's code does.

Facts of llama.cpp's public loader (`llama_model_base::load_hparams`), context, `ggml_rope_ext` and converter.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.models.rope_scaling import (
    FACTORS,
    Scaling,
    llama3_divisors,
    llama3_of_divisors,
    scaling_from_hf,
    scaling_problem,
    telling_fields,
    usual_attention_factor,
)

if TYPE_CHECKING:
    from pytest_aprqa.lifecycle.source import Source
    from pytest_aprqa.models.config import ModelConfig

ADVICE = "publish the converted file yourself and name it in the playbook"
_CONTEXT = "original_max_position_embeddings"
#: kind -> fields without which public model code computes nothing, or takes another value than llama.cpp's converter.
NEEDED: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _CONTEXT),
    "yarn": ("factor", _CONTEXT),
}
_ROTATED = ("llama", "mistral", "mixtral", "granite", "qwen2", "qwen3", "qwen3_moe", "smollm3")
#: kind -> families whose logits in llama.cpp are those of transformers beyond the first context
#: (tests/llama_cpp/test_rotary_scaling.py). Only llama.cpp's code of Llama and Granite reads `rope_freqs.weight`.
GGUF_FAMILIES: dict[str, tuple[str, ...]] = {
    "linear": (*_ROTATED, "gemma3_text"),
    "llama3": ("llama", "mistral", "mixtral", "granite"),
    "yarn": _ROTATED,
}
# Fields of config.json -> keys of GGUF. The betas of YaRN have keys that llama.cpp reads for other families only.
_KEYS = {"factor": ("factor", "float32"), _CONTEXT: ("original_context_length", "uint32")}
_BETAS = (32.0, 1.0)  # turns in the first context at which YaRN's ramp starts and ends
_FLOAT32 = 1e-5  # of a dimension: what llama.cpp's float32 may move an end of the ramp by


def refuse_scaling(folder: Path, document: dict[str, Any], config: ModelConfig) -> None:
    """LifecycleError for a scaling in config.json (`document`) that no derived file of ours says."""
    path, field = folder / "config.json", _field(document)
    _refuse_two_declarations(path, document)
    fields = dict(config.rope_scaling)
    kind = fields.get("rope_type", "default")
    if kind != "default" and kind not in NEEDED:
        problem = "rotary scaling cannot be declared in a derived file"
        raise LifecycleError(path, field, problem, found=kind, limit=" | ".join(("default", *NEEDED)), advice=ADVICE)
    for name in NEEDED.get(kind, ()):
        if fields.get(name) is None:
            problem = f"{kind} scaling needs it, and loaders take different values without it"
            raise LifecycleError(path, f"{field} {name}", problem, advice="fetch config.json again")
    beside = document.get(_CONTEXT)
    if _CONTEXT in fields and beside is not None and beside != fields[_CONTEXT]:
        problem = "is another number beside the scaling than in it"
        raise LifecycleError(path, _CONTEXT, problem, found=beside, limit=fields[_CONTEXT], advice=ADVICE)


def _field(document: dict[str, Any]) -> str:
    return "rope_parameters" if document.get("rope_parameters") else "rope_scaling"


def _refuse_two_declarations(path: Path, document: dict[str, Any]) -> None:
    """Loaders differ in which of two declarations they take, and layers with a window have one scaling in a file."""
    declared = {name: document.get(name) for name in ("rope_parameters", "rope_scaling")}
    read = {name: _parsed(path, value) for name, value in declared.items() if isinstance(value, dict) and value}
    if len(read) == 2 and read["rope_parameters"] != read["rope_scaling"]:
        problem = "rotary scaling cannot be declared in a derived file, rope_parameters declares another"
        found = _kind(read["rope_scaling"])
        raise LifecycleError(
            path, "rope_scaling", problem, found=found, limit=_kind(read["rope_parameters"]), advice=ADVICE
        )
    for name, value in declared.items():
        local = value.get("sliding_attention") if isinstance(value, dict) else None
        if isinstance(local, dict) and scaling_from_hf(path, local):
            problem = "rotary scaling cannot be declared in a derived file for layers with a window"
            found = _kind(scaling_from_hf(path, local))
            raise LifecycleError(
                path, f"{name} sliding_attention", problem, found=found, limit="default", advice=ADVICE
            )


def _parsed(path: Path, value: dict[str, Any]) -> Scaling:
    whole = value.get("full_attention")
    return scaling_from_hf(path, whole if isinstance(whole, dict) else value)


def _kind(scaling: Scaling) -> str:
    return str(dict(scaling).get("rope_type", "default"))


def gguf_scaling_keys(source: Source) -> dict[str, tuple[Any, str]]:
    """Key without the architecture -> (value, value type); none for plain rotation and for Llama 3's, a tensor.

    LifecycleError: a family, field or value of which llama.cpp computes another rotation than the model's code.
    """
    fields = telling_fields(source.config.rope_scaling)
    if not fields:
        return {}
    kind, family = fields["rope_type"], source.config.architecture
    if family not in GGUF_FAMILIES[kind]:
        problem = f"llama.cpp is not known to compute {kind} scaling for this family"
        _refuse(source, "rope_type", problem, family, ", ".join(GGUF_FAMILIES[kind]))
    known = {"rope_type", *NEEDED[kind], *(("attention_factor",) if kind == "yarn" else ())}
    for name in sorted(fields.keys() - known):
        _refuse(source, name, f"llama.cpp computes {kind} scaling of this family without it", fields[name], None)
    if kind == "llama3":
        _refuse_other_divisors(source)
        return {}
    keys: dict[str, tuple[Any, str]] = {"type": (kind, "string")}
    for name, (key, value_type) in _KEYS.items():
        if name in fields:
            value = fields[name]
            if value_type == "uint32" and (value != int(value) or value >= 2**31):
                _refuse(source, name, "is not a whole number that GGUF holds", value, "1 to 2147483647")
            keys[key] = (int(value) if value_type == "uint32" else float(value), value_type)
    if kind == "yarn":
        _refuse_other_ramp(source, fields)
        if "attention_factor" in fields:  # llama.cpp multiplies YaRN's usual factor by the key
            keys["attn_factor"] = (fields["attention_factor"] / usual_attention_factor(fields["factor"]), "float32")
    return {f"rope.scaling.{key}": value for key, value in keys.items()}


def gguf_divisors(source: Source) -> dict[str, NDArray[np.float32]]:
    """Llama 3's divisors by the name of their tensor, one per rotated pair; empty for every other scaling."""
    config = source.config
    if dict(config.rope_scaling).get("rope_type") != "llama3":
        return {}
    return {FACTORS: np.array(llama3_divisors(config.rope_scaling, config.rope_theta, config.head_dim), "<f4")}


def same_scaling(source: Source, read: Scaling) -> bool:
    """Whether a written file, of which `read` was read, scales as `source` declares."""
    config, tensors = source.config, gguf_divisors(source)
    divisors = [float(one) for one in tensors[FACTORS]] if tensors else None
    told = scaling_problem(
        config.rope_scaling, read, theta=config.rope_theta, head_dim=config.head_dim, divisors=divisors
    )
    return told is None


def _refuse_other_divisors(source: Source) -> None:
    """Llama 3's rule needs an order of its bounds, and a reader must find the rule from the divisors."""
    config = source.config
    fields = dict(config.rope_scaling)
    if not fields["low_freq_factor"] < fields["high_freq_factor"]:
        _refuse(source, "low_freq_factor", "is no lower bound", fields["low_freq_factor"], fields["high_freq_factor"])
    if fields["factor"] < 1:
        _refuse(source, "factor", "llama3 scaling shortens positions only", fields["factor"], "at least 1")
    divisors = [float(one) for one in gguf_divisors(source)[FACTORS]]
    llama3_of_divisors(source.folder / "config.json", divisors, config.rope_theta)


def _refuse_other_ramp(source: Source, fields: dict[str, Any]) -> None:
    """llama.cpp finds the ends of YaRN's ramp in float32; on the verge of a dimension it may take the next one."""
    config, context = source.config, fields[_CONTEXT]
    if context <= 2 * math.pi or config.rope_theta <= 1:
        _refuse(source, _CONTEXT, "is shorter than one turn: YaRN's ramp has no order", context, "at least 7")
    for turns in _BETAS:
        end = config.head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))
        if end > -1 and abs(end - round(end)) < _FLOAT32:
            problem = "an end of YaRN's ramp is a whole dimension but for the rounding of llama.cpp"
            _refuse(source, _CONTEXT, problem, context, None)


def _refuse(source: Source, name: str, problem: str, found: Any, limit: Any) -> NoReturn:
    where = f"{_field(source.config_json)} {name}"
    raise LifecycleError(source.folder / "config.json", where, problem, found=found, limit=limit, advice=ADVICE)
