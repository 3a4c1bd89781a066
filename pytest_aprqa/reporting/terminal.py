"""The summary that a publisher reads in ten seconds: verdict, matrix, gateways, points, artifacts, first failure.

Plain (text, markup) lines for pytest's TerminalReporter or click; every line fits the width; ASCII where it must be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import (
    CORROBORATED,
    SKIPPED,
    broken_limits,
    by_cause,
    case_name,
    counts_of,
    duration_ms,
    engine_text,
    format_of,
    outcome_of,
    severity_of,
)
from pytest_aprqa.reporting.gateway_words import (
    category_points,
    gateway_word,
    unevaluated_categories,
    verdict_reasons,
    without_evidence,
)
from pytest_aprqa.reporting.hostile_text import columns, fitted, for_terminal
from pytest_aprqa.reporting.matrix import CellResult, Matrix, Row, matrices_of

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

Markup = dict[str, bool]
Line = tuple[str, Markup]

PLAIN: Markup = {}
GOOD, BAD, CAUTION, STRONG = {"green": True}, {"red": True}, {"yellow": True}, {"bold": True}
STATUS_MARKUP: dict[str, Markup] = {
    "CERTIFIED": {"green": True, "bold": True},
    "PROVISIONAL": {"yellow": True, "bold": True},
    "BLOCKED": {"red": True, "bold": True},
}
MINIMUM_WIDTH = 40
LABEL = 11  # columns of "artifacts" and a gap
FOOTNOTES = 6  # skip reasons spelled out below a matrix
FURTHER_GATES = 4  # gates named after the first failure


def summary_lines(
    evidence: Sequence[Evidence], score: QualificationScore | None, width: int = 80, *, unicode: bool | None = None
) -> list[Line]:
    """The lines, each at most WIDTH columns (at least 40). `score` None leaves verdict, gateways and points out.

    `unicode` None: what the encoding of standard output can carry.
    """
    page = _Page(max(width, MINIMUM_WIDTH), _output_is_unicode() if unicode is None else unicode)
    if score is not None:
        _verdict(page, evidence, score.to_dict())
    matrices = matrices_of(evidence)
    for matrix in matrices:
        _matrix(page, matrix, named=len(matrices) > 1)
    if score is not None:
        _gateways(page, score.to_dict())
        _points(page, score.to_dict())
    _artifacts(page, evidence)
    _failures(page, evidence)
    return page.lines


class _Page:
    """Lines so far; makes each one harmless and short enough."""

    def __init__(self, width: int, unicode: bool) -> None:
        self.width = width
        self.unicode = unicode
        self.lines: list[Line] = []

    def clean(self, text: Any) -> str:
        return for_terminal(str(text), unicode=self.unicode)

    def add(self, text: str, markup: Markup = PLAIN) -> None:
        self.lines.append((fitted(text, self.width), dict(markup)))

    def gap(self) -> None:
        if self.lines and self.lines[-1][0]:
            self.lines.append(("", {}))

    def labelled(self, label: str, text: str, markup: Markup = PLAIN, rows: int = 3) -> None:
        """`label  text`, the text wrapped under itself over at most ROWS lines."""
        parts = _wrapped(text, self.width - LABEL, rows)
        for number, part in enumerate(parts):
            self.add(f"{label if number == 0 else '':<{LABEL}}{part}", markup)

    def listed(self, label: str, items: Sequence[str], markup: Markup = PLAIN) -> None:
        """`label  item   item`, with as many items on a line as fit; an item is never broken."""
        lines: list[str] = []
        for item in items:
            if lines and LABEL + len(lines[-1]) + 3 + len(item) <= self.width:
                lines[-1] += f"   {item}"
            else:
                lines.append(item)
        for number, line in enumerate(lines):
            self.add(f"{label if number == 0 else '':<{LABEL}}{line}", markup)


def _verdict(page: _Page, evidence: Sequence[Evidence], facts: dict[str, Any]) -> None:
    status = str(facts.get("status") or "PENDING")
    counts = counts_of(evidence)
    words = {"Falsified": "failed", "Crashed": "crashed", "Timeout": "timed out", SKIPPED: "skipped"}
    tally = [f"{counts[CORROBORATED]} passed"] + [f"{counts[key]} {word}" for key, word in words.items() if counts[key]]
    seconds = sum(duration_ms(entry) for entry in evidence) / 1000
    markup = STATUS_MARKUP.get(status, {"yellow": True, "bold": True})
    page.add(
        f"{page.clean(status)}  {facts['raw_score']}/1000  grade {page.clean(facts['grade'])}"
        f"  ({facts['normalized_score']:.1f} normalized)  {page.clean(facts['model_id'])}",
        markup,
    )
    page.add(f"{', '.join(tally)}; {seconds:.1f} s in checks")
    ungated = facts.get("ungated_raw")
    if not facts["gateways_passed"] and ungated and ungated != facts["raw_score"]:
        page.add(f"the gateways set the score to 0; without them it would be {ungated}", CAUTION)
    for reason in verdict_reasons(facts):
        page.labelled("because", page.clean(reason), BAD if facts.get("refuted") else CAUTION, rows=2)
    if facts.get("incomplete") and (missing := without_evidence(facts)):
        page.add("incomplete: no evidence for " + ", ".join(missing), CAUTION)


def _matrix(page: _Page, matrix: Matrix, *, named: bool) -> None:
    page.gap()
    if named:
        page.add(page.clean(matrix.playbook), STRONG)
    notes: list[str] = []
    rows = _collapsed(matrix.rows)
    labels = [page.clean(row.label) for row in rows]
    first = max([columns(label) for label in labels] + [8]) + 2
    cells = [[_cell_text(row.cells.get(name), notes) for name in matrix.formats] for row in rows]
    widths = [
        max(columns(page.clean(name)), *(len(line[index]) for line in cells), 4) + 2
        for index, name in enumerate(matrix.formats)
    ]
    if rows:
        header = "".join(_padded(page.clean(name), size) for name, size in zip(matrix.formats, widths, strict=True))
        page.add(" " * first + header.rstrip(), STRONG)
    for label, line, row in zip(labels, cells, rows, strict=True):
        text = _padded(label, first) + "".join(_padded(c, size) for c, size in zip(line, widths, strict=True))
        page.add(text.rstrip(), _row_markup(row))
    if matrix.whole.outcomes:
        text = _padded("playbook", first) + _cell_text(matrix.whole, notes)
        page.add(text, _markup_of(matrix.whole.worst))
    for number, reason in enumerate(notes[:FOOTNOTES], start=1):
        page.add(f"  [{number}] {page.clean(reason)}", CAUTION)
    if len(notes) > FOOTNOTES:
        page.add(f"  ... and {len(notes) - FOOTNOTES} more reasons, see report.md", CAUTION)


def _collapsed(rows: list[Row]) -> list[Row]:
    """Rows of a backend on which nothing ran become one row; three lines of "skip" say no more than one."""
    shown: list[Row] = []
    for row in rows:
        same = [other for other in rows if other.backend == row.backend]
        if row.backend is None or len(same) == 1 or not all(other.nothing_ran for other in same):
            shown.append(row)
        elif row is same[0]:
            shown.append(Row(row.backend, "(all)", _merged(same)))
    return shown


def _merged(rows: list[Row]) -> dict[str, CellResult]:
    cells: dict[str, CellResult] = {}
    for row in rows:
        for name, cell in row.cells.items():
            target = cells.setdefault(name, CellResult())
            target.outcomes[SKIPPED] = target.outcomes.get(SKIPPED, 0) + cell.skipped
            target.skip_reasons += [reason for reason in cell.skip_reasons if reason not in target.skip_reasons]
    return cells


def _cell_text(cell: CellResult | None, notes: list[str]) -> str:
    """`12 pass`, `11/12 FAIL`, `10 pass +2 skip [1]`, `skip [1]`, `-` where no check looked."""
    if cell is None:
        return "-"
    notes += [reason for reason in cell.skip_reasons if reason not in notes]
    marks = sorted({notes.index(reason) + 1 for reason in cell.skip_reasons})
    reference = f" [{','.join(map(str, marks))}]" if marks and len(marks) <= 3 else " [...]" if marks else ""
    if not cell.run:
        return "skip" + reference
    return cell.mark + (f" +{cell.skipped} skip{reference}" if cell.skipped else "")


def _row_markup(row: Row) -> Markup:
    order = ("Crashed", "Timeout", "Falsified", CORROBORATED, SKIPPED)
    return _markup_of(min((cell.worst for cell in row.cells.values()), key=order.index))


def _markup_of(outcome: str) -> Markup:
    return {CORROBORATED: GOOD, SKIPPED: CAUTION}.get(outcome, BAD)


def _gateways(page: _Page, facts: dict[str, Any]) -> None:
    page.gap()
    words = [(gateway, gateway_word(gateway)) for gateway in facts["gateways"]]
    bad = any(word == "FAIL" for _, word in words)
    markup = BAD if bad else GOOD if all(word == "pass" for _, word in words) else CAUTION
    page.listed("gateways", [f"{gateway['id']} {word}" for gateway, word in words], markup)
    for gateway, word in words:
        if word == "FAIL":
            reason = gateway.get("failure_reason") or gateway.get("description") or ""
            page.labelled("", f"{gateway['id']}: {page.clean(reason)}", BAD, rows=2)


def _points(page: _Page, facts: dict[str, Any]) -> None:
    missing = unevaluated_categories(facts)
    texts = [f"{name} {'-' if name in missing else points}/{top}" for name, points, top in category_points(facts)]
    page.listed("points", texts)
    for penalty in facts.get("penalties") or []:
        if penalty["code"] == "GATEWAY":  # said by the gateways line
            continue
        page.labelled("penalty", page.clean(f"-{penalty['points']} {penalty['code']}: {penalty['description']}"), BAD)


def _artifacts(page: _Page, evidence: Sequence[Evidence]) -> None:
    """Each artifact once, with where it came from; then each engine with the formats that it ran."""
    files: dict[str, None] = {}
    engines: dict[str, dict[str, None]] = {}
    for entry in evidence:
        if not entry.artifact:
            continue
        facts = entry.artifact
        format_name = str(facts.get("format") or format_of(entry))
        name = str(facts.get("path") or "").rstrip("/").rsplit("/", 1)[-1]
        files[f"{format_name} {facts.get('origin') or ''}: {name}, sha256 {str(facts.get('sha256') or '')[:12]}"] = None
        if entry.engine:
            engines.setdefault(engine_text(entry.engine), {})[format_name] = None
    for number, text in enumerate(files):
        page.labelled("artifacts" if number == 0 else "", page.clean(text), rows=2)
    for number, (text, formats) in enumerate(engines.items()):
        ran = f" ({', '.join(formats)})" if len(engines) > 1 else ""
        page.labelled("engine" if number == 0 else "", page.clean(text + ran), rows=2)


def _failures(page: _Page, evidence: Sequence[Evidence]) -> None:
    failures = by_cause(evidence)
    if not failures:
        return
    first = failures[0]
    page.gap()
    page.add(page.clean(f"first failure: {first.gate_id} ({severity_of(first)})"), {"red": True, "bold": True})
    page.labelled("  item", page.clean(case_name(first)), rows=2)
    page.labelled("  what", page.clean(first.title or first.check or first.gate_id), rows=2)
    page.labelled("  found", page.clean(first.reason or outcome_of(first)), BAD)
    limits = broken_limits(first)
    if limits:
        page.labelled("  limit", page.clean("; ".join(limits)), rows=2)
    if first.stderr:
        page.labelled("  stderr", page.clean(first.stderr.strip().splitlines()[-1] if first.stderr.strip() else ""))
    page.labelled("  do", page.clean(first.advice or f"see the entry of {case_name(first)} in evidence.json"), CAUTION)
    _further(page, failures[1:])


def _further(page: _Page, failures: list[Evidence]) -> None:
    if not failures:
        return
    gates: dict[str, int] = {}
    for entry in failures:
        gates[entry.gate_id] = gates.get(entry.gate_id, 0) + 1
    named = [f"{gate} x{count}" if count > 1 else gate for gate, count in list(gates.items())[:FURTHER_GATES]]
    more = f" and {len(gates) - FURTHER_GATES} more gates" if len(gates) > FURTHER_GATES else ""
    page.labelled("  and", page.clean(f"{len(failures)} more: {', '.join(named)}{more}"), BAD, rows=2)


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - columns(text))


def _wrapped(text: str, width: int, rows: int) -> list[str]:
    """Text broken at spaces into at most ROWS lines of WIDTH columns; the last one is cut if text is left over."""
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < rows - 1 and columns(rest) > width:
        cut = _break_position(rest, width)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    lines.append(fitted(rest, width))
    return lines


def _break_position(text: str, width: int) -> int:
    used = end = 0
    while end < len(text) and used + columns(text[end]) <= width:
        used += columns(text[end])
        end += 1
    space = text.rfind(" ", 0, end + 1)
    return space if space > width // 3 else max(1, end)


def _output_is_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return encoding.lower().replace("-", "").startswith("utf")
