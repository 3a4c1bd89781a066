"""From the outcome of an item of a ticket, hypotheses or specification file to its Evidence, which earns no points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_aprqa.evidence.collection_record import LIMITS_VERSION, PLAYBOOK_DIGEST, PLUGIN_VERSION, VERIFICATION

if TYPE_CHECKING:
    import pytest

    from pytest_aprqa.engines.process import Finished
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.verification_items import VerificationItem

LAST_WORDS = 20_000  # characters of output kept in one entry
NO_MODEL = "unnamed"


def attach_verification_evidence(
    item: VerificationItem, call: pytest.CallInfo[None], report: pytest.TestReport, order: int
) -> None:
    """Attach evidence to the report that decides the item: the call, or a setup or teardown that did not pass."""
    if report.when != "call" and report.passed:
        return
    from pytest_aprqa.evidence.record import canonical_json
    from pytest_aprqa.item_evidence import EVIDENCE_PROPERTY

    evidence = verification_evidence(item, call, report, order)
    report.user_properties.append((EVIDENCE_PROPERTY, canonical_json(evidence)))


def verification_evidence(
    item: VerificationItem, call: pytest.CallInfo[None], report: pytest.TestReport, order: int
) -> Evidence:
    """The entry of one item: what the file asks, what was run, what it printed, how it ended."""
    from pytest_aprqa import __version__
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.item_evidence import host_facts, skip_reason
    from pytest_aprqa.run_stamps import limits_version
    from pytest_aprqa.verification_items import TrialFailed, TrialTimeout

    file, trial, done = item.file, item.trial, item.finished
    common: dict[str, Any] = {
        "gate_id": trial.id,
        "scenario": _scenario(item),
        "host": host_facts(),
        "playbook": file.path.name.removesuffix(".yaml").removesuffix(".yml"),
        "node_id": item.nodeid,
        "check": file.kind,
        "title": trial.title,
        "severity": file.severity,
        "duration_ms": round((call.stop - call.start) * 1000),
        "output": done.stdout[:LAST_WORDS] if done else "",
        "stderr": done.stderr[-LAST_WORDS:] if done else None,
        "observed": _observed(item, done),
        "metadata": {
            "order": str(order),
            VERIFICATION: file.kind,
            "file": file.name,
            PLAYBOOK_DIGEST: file.sha256,
            PLUGIN_VERSION: __version__,
            LIMITS_VERSION: limits_version(),
        },
    }
    error = call.excinfo.value if call.excinfo is not None else None
    if report.passed:
        return Evidence.corroborated(**common)
    if report.skipped:
        return Evidence.skipped(skip_reason(report), **common)
    if isinstance(error, TrialTimeout):
        return Evidence.timeout(error.limit_ms, **(common | {"reason": str(error)}))
    if done is not None and item.crashed:
        del common["output"], common["stderr"]  # a crashed entry has the last words alone
        return Evidence.crashed(done.status, done.stderr[-LAST_WORDS:], **(common | {"reason": str(error)}))
    text = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
    return Evidence.falsified(text, **common)


def _scenario(item: VerificationItem) -> dict[str, Any]:
    """The `scenario` block: the model that was given, and the command in place of a prompt."""
    organisation, name = item.model_name()
    empty = dict.fromkeys(("modality", "backend", "format", "temperature", "max_tokens", "seed", "oracle_type"))
    return empty | {
        "id": f"{item.file.name}_{item.trial.id}",
        "model": {"org": organisation, "name": name, "variant": None},
        "prompt": f"apr {' '.join(item.trial.words)}" if item.trial.words else None,
        "trace_level": "none",
    }


def _observed(item: VerificationItem, done: Finished | None) -> list[dict[str, Any]]:
    if done is None:
        return []
    expected = (item.trial.expected or {}).get("exit_code")
    status = {"name": "exit_code", "value": done.status, "limit": expected, "unit": ""}
    return [status | {"passed": None if expected is None else done.status == expected}]
