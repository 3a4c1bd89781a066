"""The gateways G0 to G4 over a list of evidence (gates.md section 1)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.rules import rules

_RULE = rules()["gateways"]
DESCRIPTIONS: dict[str, str] = dict(_RULE["descriptions"])
GARBAGE_SHARE = Fraction(*_RULE["garbage_share"])  # of judged outputs, above which G4 fails
CRASH_CODES = frozenset(_RULE["crash_exit_codes"])
CRASH_PATTERN = re.compile(
    r"thread '[^']*' panicked|SIGSEGV|Segmentation fault|SIGABRT|\bAborted\b|SIGILL|Illegal instruction|double free"
    r"|buffer overflow|stack smashing"
)
ALSO_G0 = tuple(_RULE["also_g0"])  # lm_head shape: an integrity failure under a name of its own
SCENARIO = re.compile(r"F-A[1-6]-")  # answers of the matrix: run cpu, run gpu, chat cpu, chat gpu, serve cpu, serve gpu
ALWAYS_ON = str(_RULE["always_on"])
REASONS_SHOWN = 3
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
    return entry.gateway or _gateway_of_id(entry.gate_id)


def _gateway_of_id(gate_id: str) -> str | None:
    if gate_id.startswith(ALSO_G0):
        return "G0"
    return gate_id[:2] if gate_id[:2] in DESCRIPTIONS and gate_id[2:3] in ("-", "") else None


def _ran(evidence: Sequence[Evidence]) -> list[Evidence]:
    return [e for e in evidence if e.outcome is not Outcome.SKIPPED]


def evaluate(evidence: Sequence[Evidence], enabled: Collection[str] | None = None) -> list[GatewayResult]:
    """Results in order G0 to G4. `enabled` None means all; G0 cannot be switched off.

    A gateway that the playbook switched off (its checks were skipped for that reason) can still fail, by what other
    checks saw: a crash is a crash.
    """
    ran = _ran(evidence)
    reasons_to_skip = {e.reason for e in evidence if e.outcome is Outcome.SKIPPED}
    results = []
    for gateway in DESCRIPTIONS:
        if enabled is not None and gateway not in enabled and gateway != ALWAYS_ON:
            results.append(GatewayResult(gateway, None, SWITCHED_OFF, DESCRIPTIONS[gateway]))
            continue
        # A declaration cannot take an entry out of the gateway that its id names.
        mine = [e for e in ran if gateway in (e.gateway, _gateway_of_id(e.gate_id))]
        reasons, evaluated = _JUDGES.get(gateway, _judge_failures)(mine, ran)
        if reasons:
            text = _reason_text(gateway, reasons)
            results.append(GatewayResult(gateway, False, FAILED, DESCRIPTIONS[gateway], text))
        elif not mine and _switched_off(gateway, reasons_to_skip):
            results.append(GatewayResult(gateway, None, SWITCHED_OFF, DESCRIPTIONS[gateway]))
        elif evaluated:
            results.append(GatewayResult(gateway, True, PASSED, DESCRIPTIONS[gateway]))
        else:
            results.append(GatewayResult(gateway, None, NOT_EVALUATED, DESCRIPTIONS[gateway]))
    return results


def _switched_off(gateway: str, reasons_to_skip: Collection[str]) -> bool:
    beginning = str(_RULE["switched_off_by"]).format(id=gateway)
    return gateway != ALWAYS_ON and any(reason.startswith(beginning) for reason in reasons_to_skip)


# Each judge: entries of the gateway, all entries that ran -> (reasons for failing, whether anything was evaluated).


def _judge_failures(mine: Sequence[Evidence], ran: Sequence[Evidence]) -> tuple[list[str], bool]:
    """G0, G1: one failure is enough."""
    return [e.reason for e in mine if e.outcome.failed], bool(mine)


def _judge_inference(mine: Sequence[Evidence], ran: Sequence[Evidence]) -> tuple[list[str], bool]:
    """G2: a failure, a scenario over its time limit, or no scenario with any output."""
    scenarios = [e for e in ran if SCENARIO.match(e.gate_id)]
    reasons = [e.reason for e in mine if e.outcome.failed]
    reasons += [e.reason for e in scenarios if e.outcome is Outcome.TIMEOUT and e.gateway != "G2"]
    if scenarios and not any(e.output.strip() for e in scenarios):
        reasons.append(f"none of {len(scenarios)} scenarios produced any output")
    return reasons, bool(mine or scenarios)


def _judge_stability(mine: Sequence[Evidence], ran: Sequence[Evidence]) -> tuple[list[str], bool]:
    """G3: a crash anywhere, or a failure of its own. Evaluated when an engine did anything."""
    crashed = [e.reason or f"exit code {e.exit_code}" for e in ran if is_crash(e)]
    failed = [e.reason for e in mine if e.outcome.failed and not is_crash(e)]
    return crashed + failed, bool(mine) or any(e.generation or e.output for e in ran)


def _judge_quality(mine: Sequence[Evidence], ran: Sequence[Evidence]) -> tuple[list[str], bool]:
    """G4: more than a quarter of the judged outputs rejected. What crashed or timed out gave no output to judge."""
    judged = [e for e in mine if e.outcome in (Outcome.CORROBORATED, Outcome.FALSIFIED)]
    rejected = [e.reason for e in judged if e.outcome is Outcome.FALSIFIED]
    return (rejected if len(rejected) > GARBAGE_SHARE * len(judged) else []), bool(judged)


_JUDGES = {"G2": _judge_inference, "G3": _judge_stability, "G4": _judge_quality}


def is_crash(entry: Evidence) -> bool:
    """Outcome Crashed, an exit code of a fatal signal, or a crash pattern in what the engine wrote."""
    if entry.outcome is Outcome.SKIPPED:
        return False
    if entry.outcome is Outcome.CRASHED:
        return True
    if entry.exit_code is not None and (entry.exit_code < 0 or entry.exit_code in CRASH_CODES):
        return True
    return CRASH_PATTERN.search(entry.stderr or "") is not None


def _reason_text(gateway: str, reasons: list[str]) -> str:
    what = {
        "G0": "integrity check(s) failed",
        "G1": "load failure(s)",
        "G2": "inference failure(s)",
        "G3": "crash(es) or time-out(s)",
        "G4": "garbage output(s)",
    }[gateway]
    different = list(dict.fromkeys(reasons))
    shown = "; ".join(different[:REASONS_SHOWN])
    return f"{len(reasons)} {what}: {shown}" + (" ..." if len(different) > REASONS_SHOWN else "")


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
