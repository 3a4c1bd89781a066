"""evidence.csv: one line per attempt for spreadsheets, without anything that one of them would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_aprqa.reporting.attempts import (
    case_name,
    duration_ms,
    engine_text,
    format_of,
    model_of,
    outcome_of,
    scenario_field,
    severity_of,
)
from pytest_aprqa.reporting.hostile_text import one_line

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

COLUMNS = (
    "model", "playbook", "item", "gate", "gateway", "severity", "outcome", "format", "backend", "modality", "engine",
    "milliseconds", "tokens_per_second", "reason", "prompt", "output",
)  # fmt: skip
TEXT_LIMIT = 1_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for a formula


def evidence_csv(evidence: Sequence[Evidence]) -> str:
    """Header and one record per entry, lines ended by CR LF as RFC 4180 says. Same input, same bytes."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for entry in evidence:
        speed = (entry.metrics or {}).get("tokens_per_second")
        values = (
            model_of(entry),
            entry.playbook,
            case_name(entry),
            entry.gate_id,
            entry.gateway or entry.invariant,
            severity_of(entry),
            outcome_of(entry),
            format_of(entry),
            scenario_field(entry, "backend"),
            scenario_field(entry, "modality"),
            engine_text(entry.engine),
            duration_ms(entry),
            f"{speed:.2f}" if isinstance(speed, (int, float)) and not isinstance(speed, bool) else None,
            entry.reason,
            scenario_field(entry, "prompt"),
            entry.output,
        )
        writer.writerow([_cell(value) for value in values])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = one_line(str(value), TEXT_LIMIT)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
