"""report.html: verdict, first failure, matrix, gateways, drift, limits, speed, kill matrix and the evidence itself.

Text of models, files and playbooks is hostile: Jinja escapes all of it, and the page's policy runs our script only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pytest_aprqa.reporting.attempts import (
    SKIPPED,
    broken_limits,
    by_cause,
    case_name,
    counts_of,
    duration_ms,
    engine_text,
    format_of,
    model_of,
    outcome_of,
    scenario_field,
    severity_of,
)
from pytest_aprqa.reporting.gateway_words import (
    category_points,
    gateway_word,
    unevaluated_categories,
    verdict_reasons,
    without_evidence,
)
from pytest_aprqa.reporting.hostile_text import one_line
from pytest_aprqa.reporting.html.browser_entries import browser_entries, script_json
from pytest_aprqa.reporting.html.drift_map import drift_maps
from pytest_aprqa.reporting.html.kld_plot import kld_plots
from pytest_aprqa.reporting.html.limit_bars import limit_bars
from pytest_aprqa.reporting.html.speed_bars import FIRST_TOKEN, speed_bars
from pytest_aprqa.reporting.html.token_plot import token_plots
from pytest_aprqa.reporting.matrix import matrices_of
from pytest_aprqa.scoring.falsification import falsification_report

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.falsification import FalsificationReport
    from pytest_aprqa.scoring.score import QualificationScore

REASON_LIMIT = 1200
FURTHER_GATES = 12
NAMED_LIMITS = 4
STATUS_CLASSES = {"CERTIFIED": "good", "PROVISIONAL": "caution", "BLOCKED": "bad"}
DRIFT_WORDS = ("exact", "far below the limit", "below", "near", "up to the limit", "beyond the limit")
DRIFT_MARKS = ("0", "·", "·", "○", "●", "!")
SELECTS = (
    ("outcome", "Outcome"),
    ("gate", "Gate"),
    ("format", "Format"),
    ("backend", "Backend"),
    ("part", "What was run"),
    ("severity", "Severity"),
)


def report_html(
    evidence: Sequence[Evidence], score: QualificationScore | None, kill_matrix: Mapping[str, Any] | None = None
) -> str:
    """The whole page; same input, same bytes. `kill_matrix`: content of kill_matrix.json, where defects were tried."""
    from markupsafe import Markup

    style, script = _resource("page.css"), _resource("page.js")
    facts = score.to_dict() if score is not None else None
    entries = browser_entries(evidence)
    values = _values(evidence, facts) | {
        "kills": _kills(kill_matrix),
        "left_out": len(evidence) - len(entries),
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "style_hash": _policy_hash(style),
        "script_hash": _policy_hash(script),
        "data": Markup(script_json(entries)),  # noqa: S704 - cannot end the block, see script_json
    }
    values["sections"] = _sections(values)
    return _template().render(values) + "\n"


@lru_cache(maxsize=1)
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "gateway_word": gateway_word,
        "cell_filter": _cell_filter,
        "gate_filter": lambda gate: _show(gate=gate),
        "drift_mark": lambda level: DRIFT_MARKS[level],
    }
    environment.finalize = _visible
    return environment.from_string(_resource("page.html.jinja"))


def _values(evidence: Sequence[Evidence], facts: dict[str, Any] | None) -> dict[str, Any]:
    failures = by_cause(evidence)
    missing = unevaluated_categories(facts) if facts else []
    analysis = falsification_report(evidence)
    status = str(facts["status"]) if facts else "NOT QUALIFIED"
    return {
        "facts": facts,
        "model": str(facts["model_id"]) if facts else (model_of(evidence[0]) if evidence else "nothing recorded"),
        "status": status,
        "status_class": STATUS_CLASSES.get(status, "caution" if facts else "bad"),
        "counts": counts_of(evidence),
        "tested": _tested(analysis) if facts else "",
        "analysis": _analysis(analysis),
        "missing": without_evidence(facts) if facts and facts.get("incomplete") else [],
        "because": verdict_reasons(facts) if facts else [],
        "unevaluated": missing,
        "categories": category_points(facts) if facts else [],
        "first": _failure(failures[0]) if failures else None,
        "further": failures[1:],
        "further_gates": _gates_of(failures[1:]),
        "matrices": matrices_of(evidence),
        "skips": _skips(evidence),
        "drift": drift_maps(evidence),
        "drift_words": DRIFT_WORDS,
        "tokens": token_plots(evidence),
        "divergences": kld_plots(evidence),
        "limits": limit_bars(evidence),
        "speeds": speed_bars(evidence),
        "first_tokens": speed_bars(evidence, FIRST_TOKEN),
        "artifacts": _artifacts(evidence),
        "metadata": _metadata(evidence),
        "selects": SELECTS,
        "total": len(evidence),
        "rules": str((facts or {}).get("rules_version") or "none"),
    }


def _sections(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchors and titles of the sections that the page has."""
    present = {
        "verdict": ("Verdict", True),
        "failure": ("First failure", values["first"]),
        "matrix": ("Matrix", True),
        "gateways": ("Gateways", values["facts"]),
        "drift": ("Drift", values["drift"]),
        "tokens": ("Tokens", values["tokens"]),
        "divergence": ("Divergence", values["divergences"]),
        "limits": ("Limits", values["limits"]),
        "speed": ("Speed", values["speeds"] or values["first_tokens"]),
        "kills": ("Kill matrix", values["kills"]),
        "artifacts": ("Tested", True),
        "evidence": ("Evidence", True),
    }
    return [(anchor, title) for anchor, (title, there) in present.items() if there]


def _tested(analysis: FalsificationReport) -> str:
    """The falsification numbers in one sentence, for the top of the page."""
    return (
        f"{analysis.hypotheses_tested} hypotheses tested: {analysis.corroborated} corroborated,"
        f" {analysis.falsified} falsified, {analysis.black_swan_count} black swans;"
        f" confidence {100 * analysis.confidence_level:.1f} %."
    )


def _analysis(analysis: FalsificationReport) -> list[tuple[str, str]]:
    """Measure and value of each row of the falsification table."""
    return [
        ("Hypotheses tested", str(analysis.hypotheses_tested)),
        ("Corroborated", str(analysis.corroborated)),
        ("Falsified", str(analysis.falsified)),
        ("Inconclusive (skipped or out of time)", str(analysis.inconclusive)),
        ("Gates refuted", str(len(analysis.falsifications))),
        ("Black swans (crashes and severe failures)", str(analysis.black_swan_count)),
        ("Corroborated, share of tested", f"{100 * analysis.corroboration_ratio:.1f} %"),
        ("Confidence (Wilson lower bound, 95 %)", f"{100 * analysis.confidence_level:.1f} %"),
        ("Severity-weighted score", f"{100 * analysis.severity_weighted_score:.1f} %"),
        ("Reproducibility index", f"{analysis.reproducibility_index:.2f}"),
    ]


def _failure(entry: Evidence) -> dict[str, Any]:
    lines = (entry.stderr or "").strip().splitlines()
    return {
        "gate": entry.gate_id,
        "severity": severity_of(entry),
        "item": case_name(entry),
        "claim": entry.title,
        "reason": one_line(entry.reason or outcome_of(entry), REASON_LIMIT),
        "limits": one_line("; ".join(_some(broken_limits(entry))), REASON_LIMIT),
        "prompt": scenario_field(entry, "prompt"),
        "stderr": one_line(lines[-1], REASON_LIMIT) if lines else None,
        "advice": entry.advice,
    }


def _some(texts: list[str]) -> list[str]:
    left = len(texts) - NAMED_LIMITS
    return [*texts[:NAMED_LIMITS], f"and {left} more"] if left > 0 else texts


def _gates_of(failures: Sequence[Evidence]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for entry in failures:
        counts[entry.gate_id] = counts.get(entry.gate_id, 0) + 1
    return list(counts.items())[:FURTHER_GATES]


def _skips(evidence: Sequence[Evidence]) -> list[tuple[str, int]]:
    reasons: dict[str, int] = {}
    for entry in evidence:
        if outcome_of(entry) == SKIPPED:
            reason = one_line(entry.reason, REASON_LIMIT)
            reasons[reason] = reasons.get(reason, 0) + 1
    return sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))


def _artifacts(evidence: Sequence[Evidence]) -> list[tuple[str, str, str, str]]:
    seen: dict[tuple[str, str, str, str], None] = {}
    for entry in evidence:
        if entry.artifact:
            part = entry.artifact
            seen[
                str(part.get("format") or format_of(entry)),
                str(part.get("origin") or ""),
                str(part.get("path") or ""),
                str(part.get("sha256") or ""),
            ] = None
    return list(seen)


def _metadata(evidence: Sequence[Evidence]) -> list[tuple[str, list[str]]]:
    hosts = [entry.host or {} for entry in evidence]
    stamps = sorted(entry.timestamp for entry in evidence)
    rows: list[tuple[str, Sequence[str | None]]] = [
        ("Playbook", [entry.playbook for entry in evidence]),
        ("Engine", [engine_text(entry.engine) for entry in evidence]),
        ("Host", [host.get("hostname") for host in hosts]),
        ("Operating system", [host.get("os") for host in hosts]),
        ("Processor", [host.get("cpu") for host in hosts]),
        ("First evidence", stamps[:1]),
        ("Last evidence", stamps[-1:]),
        ("Time in checks", [f"{sum(duration_ms(entry) for entry in evidence) / 1000:.1f} s"] if evidence else []),
    ]
    return [(name, found) for name, values in rows if (found := list(dict.fromkeys(str(v) for v in values if v)))]


def _kills(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    defects = (document or {}).get("defects")
    if not document or not defects or not isinstance(defects, list) or not all(isinstance(d, dict) for d in defects):
        return None
    clean = document["clean"] if isinstance(document.get("clean"), dict) else {}
    rejected = clean["rejected"] if isinstance(clean.get("rejected"), (int, list)) else []
    keys = ("name", "verdict", "killed_by", "cause", "origin")
    return {
        "picture": _kill_picture(document),
        "defects": [{key: defect.get(key) for key in keys} for defect in defects],
        "killed": sum(defect.get("verdict") == "killed" for defect in defects),
        "tried": clean.get("tried") or 0,
        "rejected": rejected if isinstance(rejected, int) else len(rejected),
    }


def _kill_picture(document: Mapping[str, Any]) -> Markup | None:
    """Defects down, gates across; None where the file of the folder has not what the picture needs."""
    from markupsafe import Markup

    from pytest_aprqa.reporting.kill_matrix_picture import picture

    if not document.get("gates") or not document.get("totals"):
        return None
    try:
        return Markup(picture(dict(document), styled=False))  # noqa: S704 - every text in it is escaped
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # a file by another tool of this name: the table below shows what it has


def _cell_filter(playbook: str, format_name: str, backend: str | None, part: str) -> str:
    fields = {"playbook": playbook, "format": format_name, "backend": backend or "", "part": part}
    return _show(**{name: value for name, value in fields.items() if value})


def _show(**fields: str) -> str:
    """A query that the page's script understands; a lone surrogate of a model's text must not end the report."""
    return urlencode(fields, errors="backslashreplace")


def _visible(value: Any) -> Any:
    """Text with control, direction and invisible characters spelled out; markup of our own as it is."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(one_line(line) for line in value.replace("\r\n", "\n").split("\n"))


def _resource(name: str) -> str:
    return (files("pytest_aprqa.reporting.html") / name).read_text(encoding="utf-8").rstrip("\n")


def _policy_hash(text: str) -> str:
    """The hash source of Content-Security-Policy for an inline block with exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
