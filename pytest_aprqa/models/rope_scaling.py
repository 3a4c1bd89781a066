"""Scaling of the rotary base: read from config.json, GGUF keys or APR metadata, and compared whatever its spelling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError

Scaling = tuple[tuple[str, Any], ...]
#: GGUF stores Llama 3's scaling as this tensor: one divisor per pair of dimensions.
FACTORS = "rope_freqs.weight"
#: LongRoPE's divisors beyond and within the context of the training, by their field in config.json.
LONG_FACTORS = {"long_factor": "rope_factors_long.weight", "short_factor": "rope_factors_short.weight"}
STORED_FACTORS: Scaling = (("rope_type", "llama3"), ("stored_as", FACTORS))
_GGUF_FIELDS = {
    "factor": "factor",
    "original_max_position_embeddings": "original_context_length",
    "attention_factor": "attn_factor",
    "extrapolation_factor": "yarn_ext_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
#: Keys that llama.cpp reads in some architectures only and passes over in all others (its public loaders).
READ_IN = {
    "extrapolation_factor": ("grok",), "beta_fast": ("grok", "mistral3"), "beta_slow": ("grok", "mistral3"),
}  # fmt: skip
_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "attention_factor")
GGUF_TYPES = ("none", "linear", "yarn", "longrope")
# Fields that say nothing new: the base is compared on its own, defaults of YaRN are the same in both programs.
_DEFAULTS = {
    "beta_fast": 32.0, "beta_slow": 1.0, "extrapolation_factor": 1.0, "truncate": True, "partial_rotary_factor": 1.0,
}  # fmt: skip
CLOSE = 1e-5  # relative: GGUF stores float32
ROUND = 5  # digits of a bound that is taken for the source's own
FLOAT32 = 1e-6  # relative, of a divisor: rules that differ less have one and the same tensor
PUBLISHED = (1.0, 4.0)  # bounds of every Llama 3.1 to 3.3
FITTED = 1e-3  # relative, of a divisor: a rule found from float32 divisors gives them back this closely


def scaling_from_hf(path: Path, declared: Mapping[str, Any]) -> Scaling:
    """What a declaration says beyond the base, sorted by field; empty for plain rotation. ModelError: wrong types.

    `type` is the old name of `rope_type`.
    """
    kind = declared.get("rope_type") or declared.get("type") or "default"
    if not isinstance(kind, str):
        raise ModelError(path, "rope_type", "is not a name", found=repr(kind)[:60])
    kind = "longrope" if kind == "su" else kind  # the name in the first files of Phi-3
    if kind == "default":
        return ()
    for name in _NUMBERS:
        _check_number(path, f"rope_scaling {name}", declared.get(name))
    fields = {name: _frozen(value) for name, value in declared.items() if name not in ("rope_theta", "type")}
    return tuple(sorted((fields | {"rope_type": kind}).items()))


def scaling_from_gguf(path: Path, metadata: Mapping[str, Any], key: str, entries: Mapping[str, Any] = {}) -> Scaling:
    """What the keys KEY* say; Llama 3 shows by its tensor of divisors. ModelError: unknown type, wrong value.

    llama.cpp takes a factor without a type for linear scaling, also under its old key, and 0 for no factor. A key that
    it passes over (READ_IN) says nothing: what such a file computes has the default.
    """
    kind, factor = metadata.get(key + "type"), key + "factor"
    if factor not in metadata and (older := metadata.get(key.removesuffix("scaling.") + "scale_linear")) is not None:
        metadata = {**metadata, factor: older}
    if kind is None and metadata.get(factor) not in (None, 0.0):
        kind = "linear"
    if kind in (None, "none"):
        return STORED_FACTORS if FACTORS in entries else ()
    if kind not in GGUF_TYPES:
        raise ModelError(path, key + "type", "is not known", found=repr(kind)[:60], limit=", ".join(GGUF_TYPES))
    fields = {ours: metadata[key + theirs] for ours, theirs in _GGUF_FIELDS.items() if key + theirs in metadata}
    for name, value in fields.items():
        _check_number(path, key + _GGUF_FIELDS[name], value)
    architecture = key.partition(".")[0]
    fields = {name: value for name, value in fields.items() if architecture in READ_IN.get(name, (architecture,))}
    if kind == "yarn" and "attention_factor" in fields:
        # llama.cpp multiplies YaRN's usual factor by this key, config.json says the factor itself.
        fields["attention_factor"] *= usual_attention_factor(fields.get("factor", 1.0))
    return scaling_from_hf(path, {"rope_type": kind, **fields})


def usual_attention_factor(factor: float) -> float:
    """What YaRN multiplies sines and cosines by where nothing else is declared (arXiv 2309.00071, section 3.4)."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0


def llama3_divisors(scaling: Scaling, theta: float, head_dim: int) -> list[float]:
    """Divisor of each pair's frequency, head_dim / 2 of them, as Llama 3's published rule gives them."""
    fields = dict(scaling)
    factor, low, high = (float(fields.get(n, d)) for n, d in zip(_NUMBERS[:3], (8.0, 1.0, 4.0), strict=True))
    context = float(fields.get("original_max_position_embeddings", 8192))
    divisors = []
    for pair in range(head_dim // 2):
        length = 2 * math.pi * theta ** (2 * pair / head_dim)
        if length < context / high:
            divisors.append(1.0)
        elif length > context / low:
            divisors.append(factor)
        else:
            smooth = (context / length - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def llama3_of_divisors(path: Path, divisors: Sequence[float], theta: float) -> Scaling:
    """Llama 3's rule that gives DIVISORS, one per pair of dimensions; the context is 8192, only ratios to it matter.

    ModelError: no such rule gives them.
    """
    count = len(divisors)
    factor = max((float(d) for d in divisors), default=0.0)
    if not count or not all(math.isfinite(d) and d >= 1 - CLOSE for d in divisors) or not factor < 1e6:
        raise ModelError(path, FACTORS, "holds divisors that are no scaling", found=str(list(divisors[:4])))
    context = 8192
    turns = [context / (2 * math.pi * theta ** (pair / count)) for pair in range(count)]
    known = [
        (t, (1 / float(d) - 1 / factor) / (1 - 1 / factor)) for t, d in zip(turns, divisors, strict=True) if factor > 1
    ]
    middle = [(t, s) for t, s in known if CLOSE < s < 1 - CLOSE]
    if len(middle) >= 2:
        (t1, s1), (t2, s2) = middle[0], middle[-1]
        slope = (s1 - s2) / (t1 - t2)
        low = t1 - s1 / slope
        high = low + 1 / slope
    else:
        low = max((t for t, s in known if s <= CLOSE), default=min(turns) / 2)
        high = min((t for t, s in known if s >= 1 - CLOSE), default=max(turns) * 2)
        if middle:
            # One point between: any line through it that reaches 0 and 1 before the neighbours.
            t, s = middle[0]
            reach = min(t - low, (high - t) * s / (1 - s)) / 2
            low, high = t - reach, t + reach * (1 - s) / s
    values = (factor, low, high, context)
    if not 0 < low < high:
        raise ModelError(path, FACTORS, "holds divisors that are no scaling of Llama 3", found=f"{low:.6g}, {high:.6g}")
    fitted = _llama3(path, *values)
    again = llama3_divisors(fitted, theta, 2 * count)
    pairs = enumerate(zip(again, divisors, strict=True))
    wrong = next((i for i, (a, b) in pairs if not math.isclose(a, float(b), rel_tol=FITTED)), None)
    if wrong is not None:
        problem = "holds divisors that no scaling of Llama 3 gives"
        raise ModelError(
            path, f"{FACTORS} {wrong}", problem, found=f"{float(divisors[wrong]):.6g}", limit=f"{again[wrong]:.6g}"
        )
    # Float32 divisors give more digits than the source had, and few of them leave the bounds open.
    plain = (float(f"{bound:.{ROUND}g}") for bound in (low, high))
    for bounds in (PUBLISHED, tuple(plain)):
        rule = _llama3(path, factor, *bounds, context)
        near = zip(llama3_divisors(rule, theta, 2 * count), divisors, strict=True)
        if all(math.isclose(a, float(b), rel_tol=FLOAT32) for a, b in near):
            return rule
    return fitted


def _llama3(path: Path, *values: float) -> Scaling:
    return scaling_from_hf(path, {"rope_type": "llama3", **dict(zip(_NUMBERS[:4], values, strict=True))})


def scaling_problem(
    source: Scaling, target: Scaling, *, theta: float, head_dim: int, divisors: Sequence[float] | None = None
) -> str | None:
    """One line on how `target` scales otherwise than `source`, None when they are the same.

    `divisors`: the values of the target's `rope_freqs.weight`, where it has that tensor.
    """
    if target == STORED_FACTORS:
        if dict(source).get("rope_type") != "llama3":
            return f"rope scaling: the file scales by {FACTORS}, the source declares {_name(source)}"
        wanted = llama3_divisors(source, theta, head_dim)
        if divisors is None or len(divisors) != len(wanted):
            return f"rope scaling: {len(divisors or ())} divisors in {FACTORS}, expected {len(wanted)}"
        return _divisor_problem(wanted, divisors)
    if {dict(source).get("rope_type"), dict(target).get("rope_type")} == {"llama3"}:
        return _divisor_problem(llama3_divisors(source, theta, head_dim), llama3_divisors(target, theta, head_dim))
    mine, theirs = telling_fields(target), telling_fields(source)
    if mine.get("rope_type") == theirs.get("rope_type") == "longrope":
        # config.json has the context of the training beside the scaling, and its loaders compute the factor of logits.
        for name in ("original_max_position_embeddings", "attention_factor", "factor"):
            if name not in theirs:
                mine.pop(name, None)
    for name in sorted(mine.keys() | theirs.keys()):
        if not _same(mine.get(name), theirs.get(name)):
            return f"rope scaling: {name} is {mine.get(name)!r}, expected {theirs.get(name)!r}"
    return None


def _divisor_problem(wanted: Sequence[float], found: Sequence[float]) -> str | None:
    pairs = enumerate(zip(wanted, found, strict=True))
    wrong = next((i for i, (a, b) in pairs if not math.isclose(a, float(b), rel_tol=FITTED)), None)
    if wrong is None:
        return None
    return f"rope scaling: divisor {wrong} is {float(found[wrong]):.6g}, expected {wanted[wrong]:.6g}"


def telling_fields(scaling: Scaling) -> dict[str, Any]:
    """The fields of a scaling without those that say what is so anyway; empty for plain rotation."""
    fields = {name: value for name, value in scaling if value is not None}
    if fields.get("rope_type") == "linear" and _same(fields.get("factor", 1.0), 1.0):
        return {}
    if fields.get("rope_type") == "yarn" and isinstance(fields.get("factor"), (int, float)) and "mscale" not in fields:
        usual = usual_attention_factor(fields["factor"])
        fields = {name: one for name, one in fields.items() if name != "attention_factor" or not _same(one, usual)}
    return {name: value for name, value in fields.items() if not _same(value, _DEFAULTS.get(name))}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return math.isclose(first, second, rel_tol=CLOSE)
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def _name(scaling: Scaling) -> str:
    return str(dict(scaling).get("rope_type", "none"))


def _check_number(path: Path, where: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise ModelError(path, where, "is not a positive number", found=repr(value)[:60])


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
