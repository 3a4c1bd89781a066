"""The table of the registry in a README, between its two markers; everything else of the file is left alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from pytest_aprqa.registry.errors import RegistryError
from pytest_aprqa.registry.row import GATEWAYS, SPEEDS, RegistryRow

START, END = "<!-- CERTIFICATION_TABLE_START -->", "<!-- CERTIFICATION_TABLE_END -->"
COLOURS = {
    "CERTIFIED": "brightgreen",
    "PROVISIONAL": "yellow",
    "BLOCKED": "red",
    "PENDING": "lightgray",
    "PARTIAL": "orange",
    "FAIL": "red",
    "UNTESTED": "lightgray",
}
COUNTED = ("CERTIFIED", "PROVISIONAL", "BLOCKED", "PENDING", "PARTIAL", "FAIL")
HEADER = (
    "Model", "Family", "Size", "Status", "MQS", "Grade", "G1-4", "Prov", "GGUF CPU", "GGUF GPU", "APR CPU", "APR GPU",
    "ST CPU", "ST GPU",
)  # fmt: skip
_MARKUP = re.compile(r"[|\\`*_\[\]<>~&]")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([BM])", re.IGNORECASE)


def with_table(text: str, rows: Iterable[RegistryRow], when: str, path: Path) -> str:
    """TEXT with summary and table between the markers; `when` as `YYYY-MM-DD HH:MM`, UTC.

    RegistryError: a marker is missing, stands twice, or the second stands first.
    """
    for marker in (START, END):
        if text.count(marker) != 1:
            found = "is missing" if marker not in text else f"stands {text.count(marker)} times"
            raise RegistryError(path, f"the marker {marker} {found}", advice=f"put {START} and {END} where it belongs")
    start, end = text.index(START) + len(START), text.index(END)
    if end < start:
        raise RegistryError(path, f"{END} stands before {START}", advice="swap the markers")
    newline = "\r\n" if "\r\n" in text else "\n"
    return text[:start] + newline + newline.join(table_lines(list(rows), when)) + newline + text[end:]


def table_lines(rows: list[RegistryRow], when: str) -> list[str]:
    """Summary, an empty line and the table, sorted by family and number of parameters."""
    counts = {status: sum(row["status"] == status for row in rows) for status in COUNTED}
    counts["PENDING"] += sum(row["status"] == "UNTESTED" for row in rows)
    lines = [f"**Certification Summary** (updated: {when} UTC)", "", "| Status | Count |", "|---|---|"]
    lines += [f"| {status.capitalize()} | {counts[status]}/{len(rows)} |" for status in COUNTED]
    families = sorted({row["family"] for row in rows if row["status"] == "CERTIFIED"})
    lines += ["", f"Families with a certified model: {', '.join(map(_plain, families)) or 'none'}", ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    ordered = sorted(rows, key=lambda row: (row["family"], billions(row["parameters"]), row["model_id"]))
    return lines + [_row(row) for row in ordered]


def billions(text: str) -> float:
    """Parameters in 1e9 of a text such as `1.5B` or `135M`; infinity where it says nothing, so that it comes last."""
    match = _NUMBER.search(text)
    if match is None:
        return float("inf")
    return float(match[1]) / (1000 if match[2].upper() == "M" else 1)


def _row(row: RegistryRow) -> str:
    model_id, status = row["model_id"], row["status"]
    name = model_id.rpartition("/")[2]
    ran = status not in ("PENDING", "UNTESTED")
    badge = (
        f"![{_plain(status)}](https://img.shields.io/badge/{quote(status, safe='')}-{COLOURS.get(status, 'lightgray')})"
    )
    cells = [
        f"[{_plain(name)}](https://huggingface.co/{quote(model_id, safe='/')})",
        _plain(row["family"]),
        _plain(row["parameters"]),
        badge,
        _plain(row["mqs_score"]) if ran else "-",
        _plain(row["grade"]) or "-",
        _mark(row, GATEWAYS) if ran else "-",
        _mark(row, ("provenance_verified",)) if ran else "-",
        *(_speed(row[name]) for name in SPEEDS),
    ]
    return "| " + " | ".join(cells) + " |"


def _mark(row: RegistryRow, columns: tuple[str, ...]) -> str:
    return "✓" if all(row[name].strip().lower() == "true" for name in columns) else "✗"


def _speed(text: str) -> str:
    try:
        return f"{float(text):.1f}"
    except ValueError:
        return "-"


def _plain(text: str) -> str:
    """Text of a cell that can become neither markup nor a further column."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))
