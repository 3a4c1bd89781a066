"""Fingerprints: moments, extremes, damage and checksum of each tensor's values, from a file or a recorded JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.formats.canonical import CanonicalTensors

LARGEST_REFERENCE = 64 << 20  # bytes of a recorded file; 339 tensors take 0.2 MiB
NUMBERS = ("mean", "std", "min", "max")
# What a tensor is for, by words of its name; the first class that fits (gates.md 9).
CLASSES = (
    ("lm_head", ("lm_head", "output.weight")),
    ("layernorm", ("norm",)),
    ("embedding", ("embed", "token_embd", "wte")),
    ("attention", ("attn", "q_proj", "k_proj", "v_proj", "o_proj", "attention")),
    ("ffn", ("mlp", "ffn", "gate_proj", "up_proj", "down_proj")),
)


class FingerprintError(ValueError):
    """A recorded fingerprint file cannot be used."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One tensor. Moments and extremes are those of the finite values; `checksum` is sha256 of its float32 values."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    min: float
    max: float
    nan_count: int
    inf_count: int
    zero_fraction: float
    checksum: str

    @property
    def says_nothing(self) -> bool:
        """True where every number is zero: what a tool writes that has looked at no value."""
        return not any(getattr(self, name) for name in NUMBERS)


def class_of(name: str) -> str:
    """layernorm, embedding, attention, ffn, lm_head or other."""
    lowered = name.lower()
    return next((kind for kind, words in CLASSES if any(word in lowered for word in words)), "other")


def fingerprint_of(tensors: CanonicalTensors, name: str) -> Fingerprint:
    """Read one tensor in pieces, under its Hugging Face name; memory stays bounded."""
    import numpy

    entry = tensors.entry(name)
    digest = hashlib.sha256()
    count = finite = nans = infinities = zeros = 0
    low, high, mean, squares = math.inf, -math.inf, 0.0, 0.0
    for piece in tensors.chunks(name):
        digest.update(numpy.ascontiguousarray(piece, dtype="<f4").tobytes())
        values = piece.ravel().astype(numpy.float64)
        count += values.size
        bad = numpy.isnan(values)
        nans += int(bad.sum())
        infinities += int(numpy.isinf(values).sum())
        zeros += int((values == 0).sum())
        values = values[numpy.isfinite(values)]
        if not values.size:
            continue
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        # Moments of two parts put together (Chan, Golub, LeVeque 1979): no sum of large squares is subtracted.
        step = float(values.mean()) - mean
        total = finite + values.size
        squares += float(((values - values.mean()) ** 2).sum()) + step * step * finite * values.size / total
        mean += step * values.size / total
        finite = total
    if not finite:
        low = high = math.nan
    return Fingerprint(
        name=name,
        shape=tuple(entry.shape),
        dtype=entry.dtype,
        mean=mean,
        std=math.sqrt(squares / finite) if finite else math.nan,
        min=low,
        max=high,
        nan_count=nans,
        inf_count=infinities,
        zero_fraction=zeros / count if count else 0.0,
        checksum=digest.hexdigest(),
    )


def read_fingerprints(path: Path) -> dict[str, Fingerprint]:
    """name -> fingerprint of a recorded file `{fingerprints: [{name, mean, std, min, max, ...}]}`.

    FingerprintError names file, entry and field. Missing counts are 0, a missing checksum is empty.
    """
    try:
        if path.stat().st_size > LARGEST_REFERENCE:
            raise FingerprintError(f"{path}: {path.stat().st_size} bytes, limit {LARGEST_REFERENCE}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, FingerprintError):
            raise
        raise FingerprintError(f"{path}: cannot be read as JSON: {error}") from None
    rows = data.get("fingerprints") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not rows:
        raise FingerprintError(f"{path}: fingerprints: missing or empty; a list of tensors is needed")
    found = [_recorded(path, number, row) for number, row in enumerate(rows)]
    return {one.name: one for one in found}


def _recorded(path: Path, number: int, row: Any) -> Fingerprint:
    where = f"{path}: fingerprints[{number}]"
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise FingerprintError(f"{where}: needs a name")
    where = f"{where} ({row['name']!r:.80})"
    values = {field: _number(f"{where}: {field}", row.get(field)) for field in NUMBERS}
    shape = row.get("shape", ())
    return Fingerprint(
        name=row["name"],
        shape=tuple(shape) if isinstance(shape, (list, tuple)) else (),
        dtype=str(row.get("dtype", "")),
        zero_fraction=_number(f"{where}: zero_fraction", row.get("zero_fraction") or 0.0),
        checksum=str(row.get("checksum") or ""),
        nan_count=_count(f"{where}: nan_count", row.get("nan_count") or 0),
        inf_count=_count(f"{where}: inf_count", row.get("inf_count") or 0),
        **values,
    )


def _number(where: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise FingerprintError(f"{where}: found {value!r:.80}, a number is needed")


def _count(where: str, value: Any) -> int:
    number = _number(where, value)
    if not 0 <= number < math.inf:
        raise FingerprintError(f"{where}: found {value!r:.80}, a count is needed")
    return int(number)
