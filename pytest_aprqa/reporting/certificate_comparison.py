"""Does a certificate say what its evidence says? Each check passes, fails, or is not made, with the reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.certificate import certificate
from pytest_aprqa.reporting.hostile_text import clipped
from pytest_aprqa.scoring.errors import EmptyEvidence
from pytest_aprqa.scoring.score import score

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"
VALUE_LIMIT = 120  # characters of a value in a finding


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `detail` is the finding where it failed, the reason where it was not checked."""

    name: str
    state: str
    detail: str


def check_evidence_file(content: dict[str, Any], path: Path) -> Check:
    """The bytes of evidence.json are those that the certificate was made of."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        return Check("evidence", FAILED, f"{path}: cannot be read: {error.strerror}")
    found, claimed = digest.hexdigest(), str(content["evidence_hash"])
    if found != claimed:
        return Check("evidence", FAILED, f"{path.name} was changed: SHA-256 {found}, the certificate says {claimed}")
    return Check("evidence", PASSED, f"{path.name} has SHA-256 {claimed}")


def check_log(evidence: Sequence[Evidence], log: Sequence[Evidence] | None) -> Check:
    """evidence.jsonl, which was written while the run went on, has the same entries."""
    from pytest_aprqa.evidence.record import canonical_json

    if log is None:
        return Check("log", NOT_CHECKED, "no evidence.jsonl beside the certificate")
    written = {canonical_json(entry) for entry in log}
    claimed = {canonical_json(entry) for entry in evidence}
    if written != claimed:
        changed = sorted({json.loads(text)["node_id"] or json.loads(text)["id"] for text in written ^ claimed})
        return Check("log", FAILED, f"evidence.json and evidence.jsonl differ in {len(changed)} items: {changed[0]}")
    return Check("log", PASSED, f"evidence.jsonl has the same {len(claimed)} entries")


def check_score(content: dict[str, Any], evidence: Sequence[Evidence]) -> list[Check]:
    """Score the evidence and make the certificate again: every field that differs is a finding."""
    try:
        again = certificate(evidence, score(evidence, model_id=str(content["model_id"])), str(content["evidence_hash"]))
    except EmptyEvidence as error:
        return [Check("score", FAILED, f"the evidence gives no score: {error}")]
    models = {
        "/".join(str(m.get(k) or "") for k in ("org", "name")) for e in evidence if (m := e.scenario.get("model"))
    }
    wrong = [
        Check(f"score: {name}", FAILED, f"the certificate says {_shown(said)}, the evidence {_shown(value)}")
        for name in dict.fromkeys((*again, *content))
        if (said := content.get(name)) != (value := again.get(name))
    ]
    if models and set(str(content["model_id"]).split(", ")) - models:
        wrong.append(
            Check(
                "score: model_id", FAILED, f"the certificate says {content['model_id']}, the evidence {sorted(models)}"
            )
        )
    if wrong:
        return wrong
    return [Check("score", PASSED, f"the evidence gives {content['mqs_score']}/1000, {content['status']}")]


def check_expiry(content: dict[str, Any], now: datetime | None = None) -> Check:
    """The certificate is still valid."""
    try:
        expires = datetime.fromisoformat(str(content["expires_at"]))
    except ValueError:
        return Check("expiry", NOT_CHECKED, f"expires_at is {content['expires_at']!r}, which is no time")
    expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    state = PASSED if (now or datetime.now(UTC)) < expires else FAILED
    return Check("expiry", state, f"{'valid until' if state == PASSED else 'expired at'} {content['expires_at']}")


def _shown(value: Any) -> str:
    return clipped(value if isinstance(value, str) else json.dumps(value), VALUE_LIMIT)
