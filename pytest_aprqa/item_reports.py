"""What happens to the report of an item: evidence as one JSON property, and the failure policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_aprqa.collection import PlaybookFile
from pytest_aprqa.evidence.collection_record import ITEM_KEY
from pytest_aprqa.item_evidence import EVIDENCE_PROPERTY, HALTED, evidence_of, is_typed
from pytest_aprqa.item_selection import halts
from pytest_aprqa.resuming import Replayed, cached, replayed_report
from pytest_aprqa.run_stamps import item_key, run_stamps, source_stamp

if TYPE_CHECKING:
    import pytest

    from pytest_aprqa.run_state import RunState


def attach_evidence(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, state: RunState) -> None:
    """Attach evidence to the report that decides the item: the call, or a setup or teardown that did not pass."""
    replayed = call.excinfo.value if call.excinfo is not None else None
    if isinstance(replayed, Replayed):
        replayed_report(report, replayed.evidence)
    if report.when != "call" and report.passed:
        return
    from pytest_aprqa.evidence.record import canonical_json

    if isinstance(replayed, Replayed):
        order = {"order": str(state.order.get(item.nodeid, 0))}
        evidence = cached(replayed.evidence, order | run_stamps(item, state))
        report.user_properties.append((EVIDENCE_PROPERTY, canonical_json(evidence)))
        return
    evidence = evidence_of(item, call, report, state.order.get(item.nodeid, 0))
    file = item.getparent(PlaybookFile)
    assert file is not None
    model = state.model_for(file.playbook)
    evidence.metadata["failure_policy"] = model.settings.failure_policy
    if model.settings.tier is not None:
        evidence.metadata["tier"] = model.settings.tier
    evidence.metadata.update(run_stamps(item, state))
    if evidence.artifact is not None:
        evidence.metadata.update(source_stamp(model))
    if report.when == "call" and not report.skipped and (key := item_key(item, state)) is not None:
        evidence.metadata[ITEM_KEY] = key
    report.user_properties.append((EVIDENCE_PROPERTY, canonical_json(evidence)))
    if not report.failed:
        return
    if call.excinfo is not None and is_typed(call.excinfo.value):
        # A typed error is a finding in one line; the way through our own code is of no use to the reader.
        report.longrepr = f"{evidence.gate_id} {evidence.outcome.value}: {evidence.reason}"


def apply_failure_policy(report: pytest.TestReport, state: RunState) -> None:
    """Halt the run after a final failure, if the policy says so. An attempt that will be rerun is not final."""
    if not report.failed:
        return
    text = next((value for name, value in report.user_properties if name == EVIDENCE_PROPERTY), None)
    if text is None or state.halted is not None:
        return
    evidence = json.loads(str(text))
    policy = evidence["metadata"].get("failure_policy", "collect-all")
    if halts(policy, evidence["gate_id"], evidence.get("gateway")):
        state.halt(f"{HALTED} {policy} after {evidence['gate_id']} failed in {report.nodeid}")
