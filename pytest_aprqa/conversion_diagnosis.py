"""Where does a conversion go wrong? A file, what it was converted to, and the five invariants as five lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
INVARIANTS = {
    "I-1": ("Round-trip identity", ("F-CONTRACT-I1-001",)),
    "I-2": ("Tensor name bijection", ("F-CONTRACT-I2-001",)),
    "I-3": ("No silent fallbacks", ("F-CONTRACT-I3-001",)),
    "I-4": ("Statistical preservation", ("F-CONTRACT-I4-001",)),
    "I-5": ("Tokenizer round trip", ("F-CONTRACT-I5-001",)),
}
#: The line that tells of findings of other gates, by the beginning of the gate; what is not listed is told by I-1,
#: because a file that is refuted does not do what its source does.
RELATED = {
    "I-2": ("G0-TENSOR-", "G0-LAYOUT-", "F-LAYOUT-CONTRACT-00", "F-CONV-", "G0-INTEGRITY-LAYERS", "G0-INTEGRITY-FILE"),
    "I-4": ("G0-VALIDATE-", "F-DATA-QUALITY-"),
    "I-5": ("G1-TOKENIZER-",),
}
FLOOD = "F-LAYOUT-CONTRACT-005"  # padding in answers: no question of names
_FINDINGS_NAMED = 3


@dataclass(frozen=True, slots=True)
class InvariantLine:
    """One invariant: PASS, FAIL or SKIP, and why."""

    invariant: str
    title: str
    outcome: str
    reason: str


@dataclass(slots=True)
class Diagnosis:
    """Five lines; `verdict` is PASS only if all five passed, INCOMPLETE when one was skipped and none failed."""

    source: str
    converted: str
    lines: list[InvariantLine] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """PASS, FAIL or INCOMPLETE."""
        outcomes = {line.outcome for line in self.lines}
        return FAIL if FAIL in outcomes else PASS if outcomes == {PASS} else "INCOMPLETE"

    @property
    def exit_code(self) -> int:
        """0 only for PASS."""
        return 0 if self.verdict == PASS else 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        lines = [asdict(line) for line in self.lines]
        return {"verdict": self.verdict, "source": self.source, "converted": self.converted, "invariants": lines}


def diagnose(
    source: Path,
    converted: Path | None = None,
    *,
    target: str = "apr",
    on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> Diagnosis:
    """Compare `converted` (or what our own converter makes of `source` in format `target`) with `source`.

    Raises FormatError, ModelError or LifecycleError when source cannot be read or converted.
    """
    from pytest_aprqa.artifact_check import check
    from pytest_aprqa.lifecycle.conversion_paths import convert_once
    from pytest_aprqa.models.artifact import open_artifact

    with tempfile.TemporaryDirectory(prefix="aprqa-diagnosis-") as name:
        work = Path(name)
        with open_artifact(source) as artifact:
            is_truth = artifact.format == "safetensors"
            kind = _majority(artifact)
        truth = source if is_truth else convert_once(source, "safetensors", work / "truth")
        folder = truth if truth.is_dir() else truth.parent
        if converted is None:
            converted = convert_once(source, target, work / "converted", dtype=_dtype(kind, target))
            shown = f"{source.name} as {target}, by our converter"
        else:
            shown = str(converted)
        result = check([converted], folder, "text", on_event=on_event)
        lines = [_line(invariant, result.to_json()) for invariant in INVARIANTS]
        lines[2] = _quantised_is_kept(lines[2], kind, converted)
    return Diagnosis(str(source), shown, lines)


def _line(invariant: str, result: dict[str, Any]) -> InvariantLine:
    title, gates = INVARIANTS[invariant]
    own = [finding for finding in result["findings"] if finding["gate"] in gates]
    findings = own + [finding for finding in result["findings"] if _told_by(finding["gate"]) == invariant]
    if findings:
        told = [f"{f['where']}: {f['found']}, limit {f['limit']} ({f['cause']})" for f in findings[:_FINDINGS_NAMED]]
        more = f" ... and {len(findings) - _FINDINGS_NAMED} more" if len(findings) > _FINDINGS_NAMED else ""
        return InvariantLine(invariant, title, FAIL, "; ".join(told) + more)
    tried = [row for row in result["tried"] if row["gate"] in gates]
    if tried:
        counted = ", ".join(f"{k} {v}" for k, v in tried[0]["observed"].items() if k.endswith("_compared"))
        return InvariantLine(invariant, title, PASS, counted)
    reasons = [row["reason"] for row in result["not_tried"] if row["gate"] in gates or not row["gate"]]
    return InvariantLine(invariant, title, SKIP, reasons[0] if reasons else "not tried")


def _told_by(gate: str) -> str | None:
    """The invariant whose line tells of a gate that is none's own; None for their own gates."""
    if any(gate in gates for _, gates in INVARIANTS.values()):
        return None
    return next((i for i, starts in RELATED.items() if gate.startswith(starts) and gate != FLOOD), "I-1")


def _quantised_is_kept(line: InvariantLine, kind: str | None, converted: Path) -> InvariantLine:
    """A quantised source whose conversion has no quantised tensor was silently widened."""
    from pytest_aprqa.models.artifact import open_artifact
    from pytest_aprqa.suite.stored_types import FLOATS

    if line.outcome != PASS or kind is None or kind in FLOATS:
        return line
    try:
        with open_artifact(converted) as artifact:
            found = _majority(artifact)
    except (OSError, ValueError) as error:
        return InvariantLine(line.invariant, line.title, SKIP, str(error))
    if found in FLOATS:
        reason = f"the source is {kind}, the conversion is {found}: silent fall-back to a wider float"
        return InvariantLine(line.invariant, line.title, FAIL, reason)
    return line


def _majority(artifact: Any) -> str | None:
    from pytest_aprqa.suite.stored_types import majority_type

    return majority_type(artifact.tensors.entry(name) for name in artifact.tensors.names())


def _dtype(kind: str | None, target: str) -> str:
    """The type that keeps a quantised source quantised, where the target format has it."""
    from pytest_aprqa.lifecycle.tensor_types import DTYPES
    from pytest_aprqa.suite.stored_types import FLOATS

    return kind.lower() if kind not in (None, *FLOATS) and str(kind).lower() in DTYPES.get(target, ()) else "native"
