"""The gateways G0 to G4 over a list of evidence (gates.md section 1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence

DESCRIPTIONS = {
    "G0": "Model integrity (config/tensor match)",
    "G1": "Model loads successfully",
    "G2": "Basic inference works",
    "G3": "No crashes",
    "G4": "Output is not garbage",
}
GARBAGE_SHARE = 0.25  # of judged outputs, above which G4 fails
CRASH_CODES = frozenset({132, 134, 135, 136, 137, 139})
CRASH_PATTERNS = (
    "thread 'main' panicked", "SIGSEGV", "Segmentation fault", "SIGABRT", "SIGILL", "Illegal instruction",
    "double free", "buffer overflow", "stack smashing",
)  # fmt: skip
PASSED, FAILED, NOT_EVALUATED, SWITCHED_OFF = "passed", "failed", "not evaluated", "switched off"


@dataclass(frozen=True, slots=True)
class GatewayResult:
    """One gateway. `passed` is None when there is no evidence for it, or it is switched off."""

    id: str
    passed: bool | None
    state: str
    description: str
    failure_reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain values."""
        return asdict(self)


def gateway_of(entry: Evidence) -> str | None:
    """The gateway an entry belongs to: its own declaration, else its id."""
    if entry.gateway:
        return entry.gateway
    if entry.gate_id.startswith("F-LAYOUT-CONTRACT-002"):
        return "G0"
    return entry.gate_id[:2] if entry.gate_id[:2] in DESCRIPTIONS and entry.gate_id[2:3] in ("-", "") else None


def evaluate(evidence: Sequence[Evidence], enabled: Collection[str] | None = None) -> list[GatewayResult]:
    """Results in order G0 to G4. `enabled` None means all."""
    results = []
    for gateway in DESCRIPTIONS:
        if enabled is not None and gateway not in enabled:
            results.append(GatewayResult(gateway, None, SWITCHED_OFF, DESCRIPTIONS[gateway]))
            continue
        reasons, evaluated = _judge(gateway, evidence)
        if reasons:
            text = _reason_text(gateway, reasons)
            results.append(GatewayResult(gateway, False, FAILED, DESCRIPTIONS[gateway], text))
        elif evaluated:
            results.append(GatewayResult(gateway, True, PASSED, DESCRIPTIONS[gateway]))
        else:
            results.append(GatewayResult(gateway, None, NOT_EVALUATED, DESCRIPTIONS[gateway]))
    return results


def _judge(gateway: str, evidence: Sequence[Evidence]) -> tuple[list[str], bool]:
    """(reasons for failing, whether anything of this gateway ran)."""
    mine = [e for e in evidence if gateway_of(e) == gateway and e.outcome is not Outcome.SKIPPED]
    if gateway == "G3":
        crashed = [_crash_reason(e) for e in evidence if is_crash(e)]
        failed = [e.reason for e in mine if e.outcome.failed and not is_crash(e)]
        ran = any(e.outcome is not Outcome.SKIPPED and (e in mine or e.generation or e.output) for e in evidence)
        return crashed + failed, bool(mine) or ran
    if gateway == "G4":
        rejected = [e.reason for e in mine if e.outcome.failed]
        return (rejected if mine and len(rejected) / len(mine) > GARBAGE_SHARE else []), bool(mine)
    return [e.reason for e in mine if e.outcome.failed], bool(mine)


def is_crash(entry: Evidence) -> bool:
    """Outcome Crashed, an exit code of a fatal signal, or a crash pattern in what the engine wrote."""
    if entry.outcome is Outcome.CRASHED:
        return True
    if not entry.outcome.failed:
        return False
    if entry.exit_code is not None and (entry.exit_code < 0 or entry.exit_code in CRASH_CODES):
        return True
    return any(pattern in (entry.stderr or "") for pattern in CRASH_PATTERNS)


def _crash_reason(entry: Evidence) -> str:
    return entry.reason or f"exit code {entry.exit_code}"


def _reason_text(gateway: str, reasons: list[str]) -> str:
    what = {
        "G0": "integrity check(s) failed",
        "G1": "load failure(s)",
        "G2": "inference failure(s)",
        "G3": "crash(es) or time-out(s)",
        "G4": "garbage output(s)",
    }[gateway]
    shown = "; ".join(dict.fromkeys(reasons[:3]))
    return f"{len(reasons)} {what}: {shown}" + (" ..." if len(reasons) > 3 else "")


def evaluate_compat(evidence: Sequence[Evidence]) -> list[GatewayResult]:
    """The upstream rules, for its recorded files: no gateway is ever `not evaluated`."""
    failing = [e for e in evidence if e.outcome.failed]
    reasons = {
        "G0": [e.reason for e in failing if e.gate_id.startswith("G0-INTEGRITY")],
        "G1": [e.reason for e in failing if "G1" in e.gate_id],
        "G2": [e.reason for e in failing if "G2" in e.gate_id],
        "G3": [e.reason for e in evidence if e.outcome is Outcome.CRASHED],
        "G4": [e.reason for e in failing if "G4" in e.gate_id],
    }
    if len(reasons["G4"]) <= len(evidence) // 4:
        reasons["G4"] = []
    return [
        GatewayResult(g, not reasons[g], FAILED if reasons[g] else PASSED, DESCRIPTIONS[g],
                      _reason_text(g, reasons[g]) if reasons[g] else None)
        for g in DESCRIPTIONS
    ]  # fmt: skip
