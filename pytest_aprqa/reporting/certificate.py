"""The certificate of a run: the verdict, the scope that was really tested and what was not, with the digests of all
that the verdict rests on. A pure function of evidence and score, so that `aprqa verify` can make it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.evidence import collection_record as names
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.scoring.falsification import falsification_report

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.scoring.score import QualificationScore

CERTIFICATE_VERSION = "1"
SCHEMA_FILE = Path(__file__).with_name("certificate.schema.json")
VALID_DAYS = 90  # scoring.md section 13
MAX_VERIFICATION_SCORE = 170  # scoring.md section 13
PARTIAL_STATUS = "PROVISIONAL"  # what a part of a playbook may be called at most
REASON_LIMIT = 300  # characters of a reason for not testing
REASONS_KEPT = 200
CERTIFIED = "CERTIFIED"


class CertificateError(ValueError):
    """A certificate is no certificate: which field, what is wrong."""


def certificate(evidence: Sequence[Evidence], score: QualificationScore, evidence_sha256: str) -> dict[str, Any]:
    """The content of certificate.json. `evidence_sha256`: of the bytes of evidence.json."""
    facts = score.to_dict()
    whole = names.completeness(evidence)
    status, reasons = _status(facts, whole)
    issued = max(entry.timestamp for entry in evidence)
    tested = [entry for entry in evidence if entry.outcome is not Outcome.SKIPPED]
    raw = int(facts["raw_score"])
    return {
        "version": CERTIFICATE_VERSION,
        "model_id": facts["model_id"],
        "status": status,
        "status_reasons": reasons,
        "mqs_score": raw,
        "normalized_score": facts["normalized_score"],
        "grade": facts["grade"],
        "verification_score": raw * MAX_VERIFICATION_SCORE // 1000,
        "max_score": MAX_VERIFICATION_SCORE,
        "qualifies": facts["qualifies"],
        "production_ready": facts["production_ready"],
        "black_swans_caught": falsification_report(evidence).black_swan_count,
        "certified_at": issued,
        "expires_at": _later(issued, VALID_DAYS),
        "auditor": f"pytest-aprqa {_joined(evidence, names.PLUGIN_VERSION)}",
        "evidence_hash": evidence_sha256,
        "outcomes": facts["outcomes"],
        "rules": {"scoring": facts["rules_version"], "limits": _joined(evidence, names.LIMITS_VERSION)},
        "playbooks": _playbooks(evidence),
        "collection": {"found": whole.found, "expected": whole.expected, "complete": whole.complete},
        "gateways": facts["gateways"],
        "categories": facts["categories"],
        "engines": _engines(tested),
        "artifacts": _artifacts(evidence),
        **_declarations(evidence),
        "scope": facts["scope"],
        "not_tested": {
            "gateways": facts["not_evaluated_gateways"],
            "categories": facts["not_evaluated_categories"],
            "checks": facts.get("not_evaluated_gates") or [],
            "skipped": _skipped(evidence),
        },
        "machines": _machines(tested),
    }


def _status(facts: dict[str, Any], whole: names.Completeness) -> tuple[str, list[str]]:
    """The status of the score; a part of the items is never CERTIFIED."""
    status, reasons = str(facts["status"]), [str(reason) for reason in facts.get("status_reasons") or []]
    if whole.complete:
        return status, reasons
    of_all = "an unknown number of" if whole.expected is None else str(whole.expected)
    reason = f"a part of the playbook: {whole.found} of {of_all} items are recorded"
    reasons += [] if reason in reasons else [reason]
    return (PARTIAL_STATUS if status == CERTIFIED else status), reasons


def _later(timestamp: str, days: int) -> str:
    try:
        return (datetime.fromisoformat(timestamp) + timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        return "unknown"  # a record of another tool, with a time that is none


def _joined(evidence: Iterable[Evidence], key: str) -> str:
    """All values of a metadata field, sorted; `unknown` where no entry has it."""
    return ", ".join(sorted({entry.metadata[key] for entry in evidence if entry.metadata.get(key)})) or "unknown"


def _playbooks(evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    found: dict[str, set[str]] = {}
    for entry in evidence:
        if entry.playbook:
            digest = entry.metadata.get(names.PLAYBOOK_DIGEST)
            found.setdefault(entry.playbook, set()).update([digest] if digest else [])
    return [{"name": name, "sha256": ", ".join(sorted(found[name])) or None} for name in sorted(found)]


def _engines(tested: Iterable[Evidence]) -> list[dict[str, Any]]:
    """Each engine that ran, with the formats that it ran."""
    formats: dict[tuple[str, ...], set[str]] = {}
    for entry in tested:
        if entry.engine:
            key = tuple(str(entry.engine.get(name) or "") for name in ("name", "version", "backend", "dtype"))
            formats.setdefault(key, set()).update(_format_of(entry))
    return [
        dict(zip(("name", "version", "backend", "dtype"), key, strict=True)) | {"formats": sorted(formats[key])}
        for key in sorted(formats)
    ]


def _format_of(entry: Evidence) -> list[str]:
    value = entry.scenario.get("format") or (entry.artifact or {}).get("format")
    return [str(value)] if value else []


def _artifacts(evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    """Each file that was under test, by format and digest; no folder: the certificate goes with the release."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in evidence:
        artifact = entry.artifact or {}
        if not artifact.get("sha256"):
            continue
        key = str(artifact.get("format") or ""), str(artifact["sha256"])
        found[key] = {
            "format": key[0],
            "file": str(artifact.get("path") or "").replace("\\", "/").rsplit("/", 1)[-1],
            "sha256": key[1],
            "origin": str(artifact.get("origin") or "unknown"),
            "source_sha256": artifact.get("source_sha256"),
        }
    return [found[key] for key in sorted(found)]


def _declarations(evidence: Iterable[Evidence]) -> dict[str, list[str]]:
    """Digests of configuration, tokenizer and template, one a model; nothing for records that have none."""
    found = sorted({digest for entry in evidence if (digest := entry.metadata.get(names.DECLARATIONS_DIGEST))})
    return {"declarations": found} if found else {}


def _skipped(evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    """Why items were not tested, most items first, with the places that each reason holds for."""
    places: dict[str, list[str]] = {}
    for entry in evidence:
        if entry.outcome is Outcome.SKIPPED:
            place = [str(v) for axis in ("format", "backend", "modality") if (v := entry.scenario.get(axis))]
            places.setdefault(entry.reason[:REASON_LIMIT], []).append("-".join(place) or "whole playbook")
    order = sorted(places, key=lambda reason: (-len(places[reason]), reason))
    rows = [{"reason": r, "items": len(places[r]), "places": sorted(set(places[r]))} for r in order[:REASONS_KEPT]]
    if rest := order[REASONS_KEPT:]:
        items = sum(len(places[reason]) for reason in rest)
        rows.append({"reason": f"{len(rest)} further reasons", "items": items, "places": []})
    return rows


def _machines(tested: Iterable[Evidence]) -> list[str]:
    """Operating system, processor and GPU of every machine that ran something; no host names."""
    return sorted({", ".join(str(e.host[k]) for k in ("os", "cpu", "gpu") if e.host.get(k)) for e in tested} - {""})


def certificate_text(content: dict[str, Any]) -> str:
    """The bytes of certificate.json, as text."""
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"


def digest_of(pieces: Iterable[str]) -> str:
    """SHA-256 of a text in pieces, lower-case hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode("utf-8"))
    return digest.hexdigest()


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def read_certificate(path: Path) -> dict[str, Any]:
    """The content of a certificate.json. CertificateError: not readable, not JSON, or a field breaks the schema."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{path}: is not JSON: {str(error)[:200]}") from None
    for fault in _validator().iter_errors(document):
        where = "/".join(str(part) for part in fault.absolute_path) or "document"
        raise CertificateError(f"{path}: {where}: {fault.message[:200]}")
    return document  # type: ignore[no-any-return]
