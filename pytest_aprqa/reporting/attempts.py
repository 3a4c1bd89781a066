"""How one entry of evidence is named and described in every report, so that reports agree with each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.scoring.gateways import gateway_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

CORROBORATED, FALSIFIED, SKIPPED, TIMEOUT, CRASHED = "Corroborated", "Falsified", "Skipped", "Timeout", "Crashed"
GATEWAYS = ("G0", "G1", "G2", "G3", "G4")
NO_PLAYBOOK = "evidence"


def outcome_of(evidence: Evidence) -> str:
    """The outcome as spelled in evidence.json."""
    return evidence.outcome.value


def failed(evidence: Evidence) -> bool:
    """True for Falsified, Timeout and Crashed."""
    return evidence.outcome.failed


def scenario_field(evidence: Evidence, name: str) -> str | None:
    """One text field of the scenario; None where the check does not distinguish it."""
    value = (evidence.scenario or {}).get(name)
    if type(value) is str:  # nearly always, and asked for often
        return value or None
    return None if value is None or value == "" else str(value)


def model_of(evidence: Evidence) -> str:
    """`org/name` of the model, from the scenario."""
    model = (evidence.scenario or {}).get("model") or {}
    return "/".join(str(part) for part in (model.get("org"), model.get("name")) if part)


def format_of(evidence: Evidence) -> str | None:
    """Format of the artifact under test."""
    declared = (evidence.artifact or {}).get("format")
    return scenario_field(evidence, "format") or (str(declared) if declared else None)


def case_name(evidence: Evidence) -> str:
    """`check[cell]` as in the node id; `modality_backend_format_gate` for evidence without a node id."""
    if evidence.node_id:
        return evidence.node_id.rsplit("::", 1)[-1]
    if evidence.check:
        return evidence.check
    parts = (scenario_field(evidence, "modality"), scenario_field(evidence, "backend"), format_of(evidence))
    return "_".join([part for part in parts if part] + [evidence.gate_id])


def class_name(evidence: Evidence) -> str:
    """`playbook.format`; the model's id stands in for a missing playbook, as in recorded evidence of older tools."""
    owner = evidence.playbook or model_of(evidence) or NO_PLAYBOOK
    return ".".join(part for part in (owner, format_of(evidence)) if part)


def severity_of(evidence: Evidence) -> str:
    """P0, P1 or P2; a gateway id without declared severity is P0, any other id P1."""
    if evidence.severity:
        return evidence.severity
    for severity in ("P0", "P1", "P2"):
        if f"-{severity}-" in evidence.gate_id:
            return severity
    return "P0" if evidence.gate_id.startswith("G") else "P1"


def duration_ms(evidence: Evidence) -> int:
    """Whole milliseconds that the attempt took."""
    return int((evidence.metrics or {}).get("duration_ms") or 0)


def broken_limits(evidence: Evidence) -> list[str]:
    """Observed values that did not hold, `name value, limit x unit`; all values with a limit if none is marked so."""
    values = list(evidence.observed or ())
    marked = [value for value in values if value.get("passed") is False]
    limited = [value for value in values if value.get("limit") is not None]
    return [observed_text(value) for value in (marked or limited)]


def observed_text(value: dict[str, Any]) -> str:
    """One observed value with unit and limit as text."""
    unit = f" {value['unit']}" if value.get("unit") else ""
    limit = "" if value.get("limit") is None else f" (limit {_number(value['limit'])}{unit})"
    return f"{value.get('name')} {_number(value.get('value'))}{unit}{limit}"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def by_cause(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Failures, likely causes first: gateways G0 to G4, then P0 to P2, then the order in which they happened."""
    return sorted((entry for entry in evidence if failed(entry)), key=_cause_order)


def _cause_order(evidence: Evidence) -> tuple[int, str]:
    gateway = gateway_of(evidence)
    position = GATEWAYS.index(gateway) if gateway in GATEWAYS else len(GATEWAYS)
    return position, severity_of(evidence)


def counts_of(evidence: Sequence[Evidence]) -> dict[str, int]:
    """Number of entries of each outcome; all five outcomes are present."""
    counts = dict.fromkeys((CORROBORATED, FALSIFIED, SKIPPED, TIMEOUT, CRASHED), 0)
    for entry in evidence:
        counts[outcome_of(entry)] += 1
    return counts


def verdict_word(evidence: Evidence) -> str:
    """The word a reader looks for: pass, FAIL, CRASH, TIMEOUT, skip."""
    words = {CORROBORATED: "pass", FALSIFIED: "FAIL", CRASHED: "CRASH", TIMEOUT: "TIMEOUT", SKIPPED: "skip"}
    return words[outcome_of(evidence)]


def engine_text(engine: dict[str, Any] | None) -> str:
    """`name version, backend, dtype` of an engine as far as it said so."""
    if not engine:
        return ""
    name, version = str(engine.get("name") or ""), str(engine.get("version") or "")
    name = version if version.startswith(name) and version else f"{name} {version}".strip()
    return ", ".join([name, *(str(engine[key]) for key in ("backend", "dtype") if engine.get(key))])
