"""junit.xml: one suite, one test case per entry of evidence, valid against the Jenkins `junit-10.xsd`.

Timeouts count as errors, as they are written. The gate, its severity and the reason are in every case's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.attempts import (
    CRASHED,
    FALSIFIED,
    SKIPPED,
    TIMEOUT,
    case_name,
    class_name,
    counts_of,
    duration_ms,
    engine_text,
    model_of,
    observed_text,
    outcome_of,
    severity_of,
)
from pytest_aprqa.reporting.hostile_text import for_xml

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

_PROPERTIES = ("raw_score", "normalized_score", "grade", "status", "gateways_passed")


def junit_xml(evidence: Sequence[Evidence], score: QualificationScore | None) -> str:
    """The whole document. Without a score the `mqs.*` properties are left out. Same input, same bytes."""
    facts = score.to_dict() if score is not None else {}
    return "".join(_pieces(evidence, facts))


def _pieces(evidence: Sequence[Evidence], facts: dict[str, Any]) -> Iterator[str]:
    """The document, one case a piece: a tree of a long run would need twice the memory of its evidence."""
    counts = counts_of(evidence)
    suite = {
        "name": facts.get("model_id") or (model_of(evidence[0]) if evidence else "") or "model qualification",
        "tests": len(evidence),
        "failures": counts[FALSIFIED],
        "errors": counts[CRASHED] + counts[TIMEOUT],
        "skipped": counts[SKIPPED],
        "time": _seconds(sum(duration_ms(entry) for entry in evidence)),
    }
    if evidence:
        suite["timestamp"] = evidence[0].timestamp
        suite["hostname"] = (evidence[0].host or {}).get("hostname") or "unknown"
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite{_attributes(suite)}'
    if not evidence and not facts:
        yield " />\n"
        return
    yield ">\n"
    if facts:
        yield "  <properties>\n"
        for name in _PROPERTIES:
            value = _attributes({"name": f"mqs.{name}", "value": _property_value(facts.get(name))})
            yield f"    <property{value} />\n"
        yield "  </properties>\n"
    used: dict[tuple[str, str], int] = {}
    for entry in evidence:
        yield _case(entry, used)
    yield "</testsuite>\n"


def _case(entry: Evidence, used: dict[tuple[str, str], int]) -> str:
    name, owner = case_name(entry), class_name(entry)
    repeated = used[owner, name] = used.get((owner, name), 0) + 1
    shown = name if repeated == 1 else f"{name} #{repeated}"
    case = _attributes({"classname": owner, "name": shown, "time": _seconds(duration_ms(entry))})
    outcome, child = outcome_of(entry), ""
    if outcome == FALSIFIED:
        child = _element("failure", _details(entry), entry.reason, "AssertionError")
    elif outcome == CRASHED:
        child = _element("error", _with_stderr(entry), entry.reason, "CrashError")
    elif outcome == TIMEOUT:
        child = _element("error", _with_stderr(entry), _timeout_message(entry), "TimeoutError")
    elif outcome == SKIPPED:
        child = _element("skipped", None, entry.reason or "Test skipped", "Skipped")
    context = f"    <system-out>{_text(_context(entry))}</system-out>\n"
    return f"  <testcase{case}>\n{child}{context}  </testcase>\n"


def _with_stderr(entry: Evidence) -> str:
    return "\n".join(part for part in (_details(entry), entry.stderr) if part)


def _timeout_message(entry: Evidence) -> str:
    standard = f"Timeout after {duration_ms(entry)}ms"
    return (
        standard if entry.reason in ("", f"Timed out after {duration_ms(entry)}ms") else f"{standard}: {entry.reason}"
    )


def _details(entry: Evidence) -> str:
    """Gate, severity, reason, limits, advice and output of a failure, one per line."""
    lines = [f"Gate: {entry.gate_id}", f"Severity: {severity_of(entry)}", f"Reason: {entry.reason}"]
    lines += [f"Observed: {observed_text(value)}" for value in entry.observed or () if value.get("passed") is False]
    if entry.advice:
        lines.append(f"Advice: {entry.advice}")
    if entry.output:
        lines.append(f"Output: {entry.output}")
    return "\n".join(lines)


def _context(entry: Evidence) -> str:
    """What every case says, passed or not: gate, severity, claim, artifact, engine, observed values."""
    lines = [f"Gate: {entry.gate_id}", f"Severity: {severity_of(entry)}", f"Reason: {entry.reason}"]
    if entry.title:
        lines.insert(0, str(entry.title))
    if entry.artifact:
        digest = str(entry.artifact.get("sha256") or "")
        lines.append(f"Artifact: {entry.artifact.get('path')} ({entry.artifact.get('origin')}, sha256 {digest})")
    if entry.engine:
        lines.append(f"Engine: {engine_text(entry.engine)}")
    lines += [f"Observed: {observed_text(value)}" for value in entry.observed or ()]
    return "\n".join(lines)


def _property_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _element(tag: str, text: str | None, message: str, kind: str) -> str:
    attributes = _attributes({"message": message, "type": kind})
    return f"    <{tag}{attributes}>{_text(text)}</{tag}>\n" if text else f"    <{tag}{attributes} />\n"


def _attributes(values: dict[str, Any]) -> str:
    return "".join(f' {name}="{_quoted(str(value))}"' for name, value in values.items())


def _text(text: str) -> str:
    return for_xml(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    """The value of an attribute; a line break in it would be read as a space."""
    return _text(text).replace('"', "&quot;").replace("\r", "&#13;").replace("\n", "&#10;").replace("\t", "&#09;")
