"""What the evidence browser of the page shows: each entry as short fields, in JSON that cannot end its script block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import (
    SKIPPED,
    case_name,
    duration_ms,
    engine_text,
    failed,
    format_of,
    observed_text,
    outcome_of,
    scenario_field,
    severity_of,
)
from pytest_aprqa.reporting.hostile_text import clipped

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

SHOWN_ENTRIES = 20_000  # entries in the page; a larger run has failures first, the rest in evidence.json
TEXT_LIMIT = 2_000  # characters of an output, a prompt, a reason
OBSERVED_LIMIT = 60  # observed values of one entry


def browser_entries(evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Entries in execution order, empty fields left out; at most SHOWN_ENTRIES, those that failed before the others."""
    numbered = list(enumerate(evidence))
    if len(numbered) > SHOWN_ENTRIES:
        kept = sorted(numbered, key=lambda pair: (_rank(pair[1]), pair[0]))[:SHOWN_ENTRIES]
        numbered = sorted(kept, key=lambda pair: pair[0])
    return [_entry(number, entry) for number, entry in numbered]


def _rank(entry: Evidence) -> int:
    return 0 if failed(entry) else 2 if outcome_of(entry) == SKIPPED else 1


def _entry(number: int, entry: Evidence) -> dict[str, Any]:
    observed = sorted(entry.observed or (), key=lambda value: value.get("passed") is not False)  # what broke, first
    fields: dict[str, Any] = {
        "number": number,
        "gate": entry.gate_id,
        "outcome": outcome_of(entry),
        "severity": severity_of(entry),
        "gateway": entry.gateway or entry.invariant,
        "playbook": entry.playbook,
        "format": format_of(entry),
        "backend": scenario_field(entry, "backend"),
        "part": _part(entry),
        "item": case_name(entry),
        "claim": entry.title,
        "reason": _shown(entry.reason),
        "prompt": _shown(scenario_field(entry, "prompt")),
        "output": _shown(entry.output),
        "stderr": _shown((entry.stderr or "")[-TEXT_LIMIT:]),
        "advice": _shown(entry.advice),
        "engine": engine_text(entry.engine),
        "observed": [observed_text(value) for value in observed[:OBSERVED_LIMIT]]
        + (
            [f"... and {len(observed) - OBSERVED_LIMIT} more in evidence.json"]
            if len(observed) > OBSERVED_LIMIT
            else []
        ),
        "ms": duration_ms(entry),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _part(entry: Evidence) -> str | None:
    """The row of the matrix, without its backend."""
    if format_of(entry) is None:
        return None
    return scenario_field(entry, "modality") or ("engine" if scenario_field(entry, "backend") else "file")


def _shown(text: str | None) -> str | None:
    return None if text is None else clipped(text, TEXT_LIMIT)


def script_json(value: Any) -> str:
    """JSON in ASCII for a `<script type="application/json">` block: without `<`, `>` and `&` nothing can end it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
