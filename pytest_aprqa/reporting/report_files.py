"""The report files of a run folder: evidence, score, reports and certificate; each is whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.atomic_file import write_atomically
from pytest_aprqa.reporting.collector_pause import without_collector

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

EVIDENCE, MQS, JUNIT, MARKDOWN, HTML = "evidence.json", "mqs.json", "junit.xml", "report.md", "report.html"
CERTIFICATE, CERTIFICATE_PAGE = "certificate.json", "certificate.md"
SARIF, CSV = "report.sarif", "evidence.csv"
REPORTS: dict[str, tuple[str, ...]] = {
    "json": (EVIDENCE, MQS),
    "junit": (JUNIT,),
    "md": (MARKDOWN,),
    "html": (HTML,),
    "certificate": (CERTIFICATE, CERTIFICATE_PAGE),
    "sarif": (SARIF,),
    "csv": (CSV,),
}
ALL = (
    EVIDENCE,
    MQS,
    JUNIT,
    MARKDOWN,
    HTML,
    CERTIFICATE,
    CERTIFICATE_PAGE,
)  # of every run; the others are made on demand
KILL_MATRIX = "kill_matrix.json"


@without_collector()
def write_reports(
    folder: Path, evidence: Sequence[Evidence], score: QualificationScore | None, *, only: Collection[str] | None = None
) -> list[Path]:
    """Write the reports (all, or those named in ONLY) and return their paths. Same input, same bytes.

    Without a score there is no mqs.json and no certificate, and those left by an earlier run are removed. OSError:
    folder not writable.
    """
    written: list[Path] = []
    issued: dict[str, Any] | None = None
    for name in (*ALL, SARIF, CSV):
        if name not in (ALL if only is None else only):
            continue
        if name == EVIDENCE:
            write_atomically(folder / name, evidence_json_pieces(evidence))
            written.append(folder / name)
            continue
        if name in (CERTIFICATE, CERTIFICATE_PAGE) and score is not None:
            issued = issued or make_certificate(evidence, score, _digest_of_file(folder / EVIDENCE, written))
            write_atomically(folder / name, _certificate_text(name, issued))
            written.append(folder / name)
            continue
        kills = _kill_matrix(folder) if name == HTML else None
        text = report_text(name, evidence, score, kills)
        if text is None:
            (folder / name).unlink(missing_ok=True)
            continue
        write_atomically(folder / name, text)
        written.append(folder / name)
    return written


def report_text(
    name: str,
    evidence: Sequence[Evidence],
    score: QualificationScore | None,
    kill_matrix: Mapping[str, Any] | None = None,
) -> str | None:
    """The content of one report file; None for mqs.json and the certificate when there is no score."""
    if name == EVIDENCE:
        return evidence_json(evidence)
    if name in (CERTIFICATE, CERTIFICATE_PAGE):
        return None if score is None else _certificate_text(name, make_certificate(evidence, score))
    if name == MQS:
        return None if score is None else json.dumps(score.to_dict(), indent=2) + "\n"
    if name == JUNIT:
        from pytest_aprqa.reporting.junit import junit_xml

        return junit_xml(evidence, score)
    if name == SARIF:
        from pytest_aprqa.reporting.sarif import report_sarif

        return report_sarif(evidence)
    if name == CSV:
        from pytest_aprqa.reporting.evidence_csv import evidence_csv

        return evidence_csv(evidence)
    if name == HTML:
        from pytest_aprqa.reporting.html.page import report_html

        return report_html(evidence, score, kill_matrix)
    from pytest_aprqa.reporting.markdown import report_markdown

    return report_markdown(evidence, score)


def make_certificate(
    evidence: Sequence[Evidence], score: QualificationScore, evidence_sha256: str | None = None
) -> dict[str, Any]:
    """The certificate, with the digest that evidence.json of this evidence has, made anew where it is not given."""
    from pytest_aprqa.reporting.certificate import certificate, digest_of

    return certificate(evidence, score, evidence_sha256 or digest_of(evidence_json_pieces(evidence)))


def _digest_of_file(path: Path, written: Collection[Path]) -> str | None:
    """SHA-256 of a file that was written just now; None for any other: it may be of another run."""
    if path not in written:
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _certificate_text(name: str, issued: dict[str, Any]) -> str:
    if name == CERTIFICATE:
        from pytest_aprqa.reporting.certificate import certificate_text

        return certificate_text(issued)
    from pytest_aprqa.reporting.certificate_markdown import certificate_markdown

    return certificate_markdown(issued)


def _kill_matrix(folder: Path) -> dict[str, Any] | None:
    """The kill matrix that lies in the folder of the run; None when there is none that can be read."""
    try:
        document = json.loads((folder / KILL_MATRIX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def evidence_json(evidence: Sequence[Evidence]) -> str:
    """The entries as a JSON array in execution order; one field a line, so that two files can be compared by eye."""
    return "".join(evidence_json_pieces(evidence))


def evidence_json_pieces(evidence: Sequence[Evidence]) -> Iterator[str]:
    """`evidence_json` in pieces, one an entry: a long run is never in memory as text."""
    from pytest_aprqa.evidence.record import Evidence

    # Plain values, so that numbers, paths and NaN are spelled as in the log; ASCII, so that a lone surrogate in a
    # model's output cannot make the file undecodable.
    encode_text = json.encoder.encode_basestring_ascii
    keys = {name: f"    {encode_text(name)}: " for name in sorted(Evidence.__dataclass_fields__)}
    before = "[\n  {"
    for entry in evidence:
        values = entry.to_dict()
        fields = []
        for name, key in keys.items():
            value = values[name]
            # The encoder is set up anew for each value; most are text or nothing, which need none of it.
            simple = "null" if value is None else encode_text(value) if type(value) is str else None
            fields.append(key + (simple or _json_of(value)))
        yield f"{before}\n" + ",\n".join(fields)
        before = "\n  },\n  {"
    yield "\n  }\n]\n" if evidence else "[]\n"


@cache
def _encoder() -> json.JSONEncoder:
    return json.JSONEncoder(sort_keys=True, allow_nan=False, check_circular=False)


def _json_of(value: Any) -> str:
    """One value in one line. What was read from a log is plain already, which is seen from its text much sooner."""
    from pytest_aprqa.evidence.record import DEEPEST, LARGEST_BITS, plain

    if type(value) in (dict, list) and not value:
        return "{}" if type(value) is dict else "[]"
    try:
        text = _encoder().encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encoder().encode(plain(value))
    # Neither nested too deeply nor with too large a number: both are seen in the text, and rare.
    digits = LARGEST_BITS * 3 // 10
    deep = text.count("{") + text.count("[") > DEEPEST
    if deep or (len(text) >= digits and re.search(rf"[0-9]{{{digits}}}", text)):
        return _encoder().encode(plain(value))
    return text
