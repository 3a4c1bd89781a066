"""Evidence: one attempt, what was tried, what was seen, how it ended (scoring.md section 1, and our own fields)."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.outcome import Outcome

PASSED_REASON = "Test passed"
DEEPEST = 40  # levels of nesting that an entry keeps
LARGEST_BITS = 1024  # of a whole number that is written as digits
EMPTY_METRICS = {
    "duration_ms": 0,
    "tokens_per_second": None,
    "time_to_first_token_ms": None,
    "total_tokens": None,
    "memory_peak_mb": None,
}
UNKNOWN_HOST = {"hostname": "unknown", "os": "unknown", "cpu": "unknown", "gpu": None, "apr_version": None}
REQUIRED = ("id", "gate_id", "outcome", "timestamp")
_TEXT, _TEXT_OR_NULL, _OBJECT, _OBJECT_OR_NULL = (str,), (str, type(None)), (dict,), (dict, type(None))
FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "id": _TEXT, "gate_id": _TEXT, "timestamp": _TEXT, "reason": _TEXT, "output": _TEXT, "stderr": _TEXT_OR_NULL,
    "exit_code": (int, type(None)), "scenario": _OBJECT, "metrics": _OBJECT, "host": _OBJECT, "metadata": _OBJECT,
    "playbook": _TEXT_OR_NULL, "node_id": _TEXT_OR_NULL, "check": _TEXT_OR_NULL, "title": _TEXT_OR_NULL,
    "severity": _TEXT_OR_NULL, "gateway": _TEXT_OR_NULL, "invariant": _TEXT_OR_NULL, "advice": _TEXT_OR_NULL,
    "engine": _OBJECT_OR_NULL, "artifact": _OBJECT_OR_NULL, "generation": _OBJECT_OR_NULL, "observed": (list,),
}  # fmt: skip
# Fields that older records leave out or set to null.
_WHEN_ABSENT: dict[str, Any] = {
    "scenario": {}, "metrics": {}, "metadata": {}, "observed": [], "host": UNKNOWN_HOST, "reason": "", "output": "",
}  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One entry; see docs/reference/evidence. `observed` holds measured values: {name, value, limit, unit, passed}."""

    gate_id: str
    outcome: Outcome
    reason: str
    scenario: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    output: str = ""
    stderr: str | None = None
    exit_code: int | None = None
    metrics: dict[str, Any] = field(default_factory=lambda: dict(EMPTY_METRICS))
    timestamp: str = field(default_factory=_now)
    host: dict[str, Any] = field(default_factory=lambda: dict(UNKNOWN_HOST))
    metadata: dict[str, str] = field(default_factory=dict)
    playbook: str | None = None
    node_id: str | None = None
    check: str | None = None
    title: str | None = None
    severity: str | None = None
    gateway: str | None = None
    invariant: str | None = None
    engine: dict[str, Any] | None = None
    artifact: dict[str, Any] | None = None
    generation: dict[str, Any] | None = None
    observed: list[dict[str, Any]] = field(default_factory=list)
    advice: str | None = None

    @classmethod
    def _make(cls, outcome: Outcome, reason: str, duration_ms: int, fields: dict[str, Any]) -> Evidence:
        metrics = dict(EMPTY_METRICS) | dict(fields.pop("metrics", None) or {}) | {"duration_ms": int(duration_ms)}
        return cls(outcome=outcome, reason=reason, metrics=metrics, **fields)

    @classmethod
    def corroborated(cls, *, duration_ms: int = 0, **fields: Any) -> Evidence:
        """The attempt failed to refute: a pass."""
        return cls._make(Outcome.CORROBORATED, PASSED_REASON, duration_ms, {"exit_code": 0} | fields)

    @classmethod
    def falsified(cls, reason: str, *, duration_ms: int = 0, **fields: Any) -> Evidence:
        """The claim was refuted, for this reason."""
        return cls._make(Outcome.FALSIFIED, reason, duration_ms, fields)

    @classmethod
    def timeout(cls, limit_ms: int, **fields: Any) -> Evidence:
        """The limit of `limit_ms` milliseconds was reached; it is the duration, the output is empty."""
        fields.pop("duration_ms", None)
        reason = fields.pop("reason", None) or f"Timed out after {limit_ms}ms"
        return cls._make(Outcome.TIMEOUT, reason, limit_ms, fields | {"output": ""})

    @classmethod
    def crashed(cls, exit_code: int, stderr: str, *, duration_ms: int = 0, **fields: Any) -> Evidence:
        """The process died with this exit code (negative: signal); the output is empty."""
        reason = fields.pop("reason", None) or f"Process crashed with exit code {exit_code}"
        fields = fields | {"output": "", "stderr": stderr, "exit_code": exit_code}
        return cls._make(Outcome.CRASHED, reason, duration_ms, fields)

    @classmethod
    def skipped(cls, reason: str, **fields: Any) -> Evidence:
        """Nothing was tried, for this reason; output empty, duration 0."""
        fields.pop("duration_ms", None)
        return cls._make(Outcome.SKIPPED, reason, 0, fields | {"output": ""})

    def to_dict(self) -> dict[str, Any]:
        """Field name -> plain value; the outcome as its word."""
        values = {name: getattr(self, name) for name in _FIELD_NAMES}
        return values | {"outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_dict`; unknown fields go into metadata as text. EvidenceError: field missing or wrong."""
        if not isinstance(values, Mapping):
            raise EvidenceError(f"evidence entry: not an object but {type(values).__name__}")
        for name in REQUIRED:
            if not isinstance(values.get(name), str) or not values[name]:
                raise EvidenceError(f"evidence entry: field {name}: missing or not text (found {values.get(name)!r})")
        try:
            outcome = Outcome(values["outcome"])
        except ValueError:
            words = ", ".join(o.value for o in Outcome)
            raise EvidenceError(f"evidence entry: field outcome: found {values['outcome']!r}, limit {words}") from None
        known = values.keys() <= _FIELD_NAMES.keys()
        fields = dict(values) if known else {name: value for name, value in values.items() if name in _FIELD_NAMES}
        for name, value in _WHEN_ABSENT.items():
            if fields.get(name) is None:
                fields[name] = copy.copy(value)
        _check_types(fields)
        extra = {} if known else {name: value for name, value in values.items() if name not in _FIELD_NAMES}
        fields["outcome"] = outcome
        fields["metadata"] = {
            str(name): value if isinstance(value, str) else json.dumps(plain(value))
            for name, value in (fields["metadata"] | extra).items()
        }
        fields["metrics"] = EMPTY_METRICS | fields["metrics"]
        _check_duration(fields["metrics"]["duration_ms"])
        return cls(**fields)


_FIELD_NAMES = {f.name: None for f in dataclasses.fields(Evidence)}  # in their order; a long log asks for them often


def _check_types(fields: Mapping[str, Any]) -> None:
    """EvidenceError when a field has a type that no report could show."""
    for name, value in fields.items():
        types = FIELD_TYPES.get(name)
        if types is None or type(value) in types:  # as json gives it
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            wanted = " or ".join("null" if t is type(None) else _JSON_NAMES[t] for t in types)
            raise EvidenceError(f"evidence entry: field {name}: wrong type (found {str(value)[:60]!r}, limit {wanted})")
    if not isinstance(fields["scenario"].get("model"), dict | None):
        raise EvidenceError("evidence entry: field scenario.model: wrong type (limit object)")
    if not all(isinstance(value, dict) for value in fields["observed"]):
        raise EvidenceError("evidence entry: field observed: wrong type (limit list of objects)")


_JSON_NAMES = {str: "text", dict: "object", list: "list", int: "whole number"}


def _check_duration(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise EvidenceError(f"evidence entry: field metrics.duration_ms: found {value!r}, limit milliseconds from 0")


def canonical_json(evidence: Evidence) -> str:
    """One line of JSON: sorted keys, ASCII; NaN and infinities as words, numpy scalars and paths as plain values."""
    return json.dumps(plain(evidence.to_dict()), sort_keys=True, ensure_ascii=True, allow_nan=False)


def plain(value: Any, depth: int = DEEPEST) -> Any:
    """A value that JSON can carry, whatever a check observed; what is nested deeper than `depth` becomes text."""
    if value is None or type(value) is str:  # most values of a long log
        return value
    if isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= LARGEST_BITS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else ("NaN" if value != value else f"{'-' * (value < 0)}Infinity")
    if depth == 0:
        return f"{type(value).__name__} nested too deeply"
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(item, depth - 1) for item in items]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalar or array, without importing numpy
        return plain(value.tolist(), depth - 1)
    return str(value)
