"""report.md: summary, gateways, points, falsifications, results by category, penalties, analysis, metadata; in order.

Everything that came from a model or a file is written so that it cannot become markup, a link or a table column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import (
    SKIPPED,
    broken_limits,
    by_cause,
    case_name,
    counts_of,
    duration_ms,
    engine_text,
    failed,
    format_of,
    model_of,
    outcome_of,
    scenario_field,
    severity_of,
    verdict_word,
)
from pytest_aprqa.reporting.gateway_words import (
    category_points,
    gateway_word,
    unevaluated_categories,
    verdict_reasons,
    without_evidence,
)
from pytest_aprqa.reporting.hostile_text import markdown_block, markdown_code, markdown_text
from pytest_aprqa.reporting.matrix import matrices_of
from pytest_aprqa.scoring.categories import category_of
from pytest_aprqa.scoring.falsification import FalsificationReport, falsification_report

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

CATEGORIES = ("QUAL", "PERF", "STAB", "COMP", "EDGE", "REGR")
REASON_LIMIT = 600  # characters of a reason
BLOCK_LIMIT = 2000  # characters of an output or of stderr
FULL_FALSIFICATIONS = 50  # failures described at length; all are in evidence.json
FAILURES_PER_CATEGORY = 10


def report_markdown(evidence: Sequence[Evidence], score: QualificationScore | None) -> str:
    """The whole report. Without a score it says so and shows what was recorded. Same input, same bytes."""
    facts = score.to_dict() if score is not None else None
    model = facts["model_id"] if facts else (model_of(evidence[0]) if evidence else "nothing recorded")
    lines = [f"# Model Qualification: {markdown_text(str(model))}", ""]
    for section in _sections(evidence, facts):
        lines += [*section, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _sections(evidence: Sequence[Evidence], facts: dict[str, Any] | None) -> list[list[str]]:
    analysis = falsification_report(evidence)
    sections = [_summary(evidence, facts, analysis)]
    if facts is not None:
        sections += [_gateways(facts), _categories(facts)]
    sections += [_matrix(evidence), _falsifications(evidence), _results(evidence)]
    if facts is not None:
        sections.append(_penalties(facts))
    return [*sections, _analysis(analysis), _skips(evidence), _artifacts(evidence), _metadata(evidence, facts)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _summary(evidence: Sequence[Evidence], facts: dict[str, Any] | None, analysis: FalsificationReport) -> list[str]:
    counts = counts_of(evidence)
    tally = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number) or "none"
    lines = ["## Summary", ""]
    if facts is None:
        lines.append("- **Status:** no score: nothing was proven")
    else:
        lines += [
            f"- **Score:** {facts['raw_score']}/1000 ({facts['normalized_score']:.1f} normalized,"
            f" grade {markdown_text(str(facts['grade']))})",
            f"- **Status:** {markdown_text(str(facts['status']))}",
            f"- **Qualified:** {'yes' if facts['qualifies'] else 'no'};"
            f" production ready: {'yes' if facts['production_ready'] else 'no'}",
        ]
        lines += [f"- **Because:** {markdown_text(reason)}" for reason in verdict_reasons(facts)]
        if facts.get("incomplete") and (missing := without_evidence(facts)):
            lines.append(f"- **Incomplete:** no evidence for {', '.join(missing)}; not run is not proven")
        if not facts["gateways_passed"]:
            lines.append(f"- **Without the gateways:** {facts.get('ungated_raw')}/1000")
    return [
        *lines,
        f"- **Tests:** {len(evidence)} ({tally})",
        f"- **Black swans:** {analysis.black_swan_count}",
        f"- **Corroborated:** {analysis.corroboration_ratio * 100:.1f} % of {analysis.hypotheses_tested} tested,"
        f" confidence {analysis.confidence_level * 100:.1f} %",
    ]


def _gateways(facts: dict[str, Any]) -> list[str]:
    rows = [
        [
            gateway["id"],
            gateway_word(gateway),
            markdown_text(str(gateway.get("description") or "")),
            markdown_text(str(gateway.get("failure_reason") or ""), REASON_LIMIT),
        ]
        for gateway in facts["gateways"]
    ]
    return ["## Gateway Checks", "", *_table(("Gateway", "Result", "Claim", "Why it failed"), rows)]


def _categories(facts: dict[str, Any]) -> list[str]:
    missing = unevaluated_categories(facts)
    rows = []
    for name, points, maximum in category_points(facts):
        share = "no evidence" if name in missing else f"{100 * points / maximum:.0f} %"
        rows.append([name, "-" if name in missing else str(points), str(maximum), share])
    return ["## Category Scores", "", *_table(("Category", "Score", "Max", "%"), rows)]


def _matrix(evidence: Sequence[Evidence]) -> list[str]:
    lines = ["## Matrix", ""]
    for matrix in matrices_of(evidence):
        rows = []
        for row in matrix.rows:
            cells = [row.cells.get(name) for name in matrix.formats]
            rows.append(
                [markdown_text(row.label)]
                + [
                    "-"
                    if cell is None
                    else cell.mark + (f", {cell.skipped} skipped" if cell.run and cell.skipped else "")
                    for cell in cells
                ]
            )
        lines += [f"Playbook {markdown_code(matrix.playbook)}:", ""]
        lines += [*_table(["Checks of", *(markdown_text(name) for name in matrix.formats)], rows), ""]
        if matrix.whole.outcomes:
            lines += [f"Checks of the whole playbook: {matrix.whole.mark}", ""]
    return lines[:-1] if lines[-1] == "" else lines


def _falsifications(evidence: Sequence[Evidence]) -> list[str]:
    failures = by_cause(evidence)
    lines = ["## Falsifications", ""]
    if not failures:
        return [*lines, "None." if any(outcome_of(e) != SKIPPED for e in evidence) else "None: nothing was run."]
    for number, entry in enumerate(failures[:FULL_FALSIFICATIONS], start=1):
        lines += _falsification(number, entry)
    if len(failures) > FULL_FALSIFICATIONS:
        lines += [f"... and {len(failures) - FULL_FALSIFICATIONS} more, see evidence.json.", ""]
    return lines[:-1]


def _falsification(number: int, entry: Evidence) -> list[str]:
    facts: list[tuple[str, str]] = [
        ("claim", markdown_text(entry.title or "", REASON_LIMIT)),
        ("outcome", outcome_of(entry)),
        ("found", markdown_text(entry.reason, REASON_LIMIT)),
        ("limit", markdown_text("; ".join(broken_limits(entry)), REASON_LIMIT)),
        ("prompt", markdown_code(scenario_field(entry, "prompt") or "", REASON_LIMIT) if entry.scenario else ""),
        ("what to do", markdown_text(entry.advice or "", REASON_LIMIT)),
    ]
    head = f"{markdown_code(entry.gate_id)} ({markdown_text(severity_of(entry))}) {markdown_code(case_name(entry))}"
    lines = [f"### {number}. {head}", ""]
    lines += [f"- {name}: {text}" for name, text in facts if text and text != "<code></code>"]
    for name, text in (("output", entry.output), ("stderr", entry.stderr)):
        if text:
            shown = text[:BLOCK_LIMIT] + ("..." if len(text) > BLOCK_LIMIT else "")
            lines += ["", f"{name}:", "", markdown_block(shown)]
    return [*lines, ""]


def _results(evidence: Sequence[Evidence]) -> list[str]:
    lines = ["## Test Results by Category", ""]
    groups: dict[str, list[Evidence]] = {}
    for entry in evidence:
        groups.setdefault(category_of(entry.gate_id), []).append(entry)
    for category in CATEGORIES:
        entries = groups.get(category, [])
        run = [entry for entry in entries if outcome_of(entry) != SKIPPED]
        if not entries:
            continue
        failures = [entry for entry in run if failed(entry)]
        rate = f"{100 * (len(run) - len(failures)) / len(run):.1f} %" if run else "nothing was run"
        skipped = f", {len(entries) - len(run)} skipped" if len(entries) > len(run) else ""
        lines += [f"### {category}", "", f"{len(run) - len(failures)} of {len(run)} passed ({rate}){skipped}.", ""]
        for entry in failures[:FAILURES_PER_CATEGORY]:
            reason = markdown_text(entry.reason, 200)
            lines.append(
                f"- {verdict_word(entry)} {markdown_code(entry.gate_id)} {markdown_code(case_name(entry))}: {reason}"
            )
        if len(failures) > FAILURES_PER_CATEGORY:
            lines.append(f"- ... and {len(failures) - FAILURES_PER_CATEGORY} more")
        if failures:
            lines.append("")
    return lines[:-1] if lines[-1] == "" else lines


def _penalties(facts: dict[str, Any]) -> list[str]:
    penalties = facts.get("penalties") or []
    lines = ["## Penalties Applied", ""]
    if not penalties:
        return [*lines, "None."]
    rows = [[markdown_text(str(p["code"])), markdown_text(str(p["description"])), str(p["points"])] for p in penalties]
    return [*lines, *_table(("Code", "Description", "Points"), rows)]


def _analysis(analysis: FalsificationReport) -> list[str]:
    rows = [
        ("Hypotheses tested", str(analysis.hypotheses_tested)),
        ("Corroborated", str(analysis.corroborated)),
        ("Falsified", str(analysis.falsified)),
        ("Inconclusive", str(analysis.inconclusive)),
        ("Corroboration ratio", f"{analysis.corroboration_ratio:.4f}"),
        ("Severity-weighted score", f"{analysis.severity_weighted_score:.4f}"),
        ("Confidence (Wilson lower bound, 95 %)", f"{analysis.confidence_level:.4f}"),
        ("Reproducibility index", f"{analysis.reproducibility_index:.4f}"),
        ("Black swans", str(analysis.black_swan_count)),
    ]
    return ["## Popperian Analysis", "", *_table(("Measure", "Value"), rows)]


def _skips(evidence: Sequence[Evidence]) -> list[str]:
    reasons: dict[str, int] = {}
    for entry in evidence:
        if outcome_of(entry) == SKIPPED:
            reasons[entry.reason] = reasons.get(entry.reason, 0) + 1
    lines = ["## Not Run", ""]
    if not reasons:
        return [*lines, "Every item was run."]
    return [
        *lines,
        *_table(("Items", "Reason"), [[str(n), markdown_text(r, REASON_LIMIT)] for r, n in reasons.items()]),
    ]


def _artifacts(evidence: Sequence[Evidence]) -> list[str]:
    seen: dict[tuple[str, ...], None] = {}
    for entry in evidence:
        if entry.artifact:
            facts = entry.artifact
            seen[
                str(facts.get("format") or format_of(entry)),
                str(facts.get("origin") or ""),
                str(facts.get("path") or ""),
                str(facts.get("sha256") or ""),
            ] = None
    rows = [[markdown_text(a), markdown_text(b), markdown_code(c), markdown_code(d)] for a, b, c, d in seen]
    lines = ["## Artifacts", ""]
    return [*lines, *(_table(("Format", "Origin", "File", "SHA-256"), rows) if rows else ["None recorded."])]


def _metadata(evidence: Sequence[Evidence], facts: dict[str, Any] | None) -> list[str]:
    hosts = [entry.host or {} for entry in evidence]
    values: list[tuple[str, Sequence[str]]] = [
        ("Playbook", _distinct(evidence, lambda e: e.playbook)),
        ("Engine", _distinct(evidence, lambda e: engine_text(e.engine))),
        ("Host", list(dict.fromkeys(str(host.get("hostname")) for host in hosts if host.get("hostname")))),
        ("Operating system", list(dict.fromkeys(str(host.get("os")) for host in hosts if host.get("os")))),
        ("Processor", list(dict.fromkeys(str(host.get("cpu")) for host in hosts if host.get("cpu")))),
        ("First evidence", [str(min((e.timestamp for e in evidence), default=""))]),
        ("Last evidence", [str(max((e.timestamp for e in evidence), default=""))]),
        ("Time in checks", [f"{sum(duration_ms(e) for e in evidence) / 1000:.1f} s"]),
        ("Scoring rules", [str((facts or {}).get("rules_version") or (facts or {}).get("rules") or "")]),
    ]
    rows = [[name, "<br>".join(markdown_text(v, REASON_LIMIT) for v in found)] for name, found in values if any(found)]
    return ["## Metadata", "", *_table(("Field", "Value"), rows)]


def _distinct(evidence: Sequence[Evidence], read: Callable[[Evidence], str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in map(read, evidence) if value))
