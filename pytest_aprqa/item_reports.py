"""What happens to the report of an item: evidence as one JSON property, and the failure policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_aprqa.collection import PlaybookFile
from pytest_aprqa.item_evidence import EVIDENCE_PROPERTY, evidence_of, is_typed
from pytest_aprqa.item_selection import halts

if TYPE_CHECKING:
    import pytest

    from pytest_aprqa.run_state import RunState


def attach_evidence(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, state: RunState) -> None:
    """Attach evidence to the report that decides the item: the call, or a setup or teardown that did not pass."""
    if report.when != "call" and report.passed:
        return
    from pytest_aprqa.evidence.record import canonical_json

    evidence = evidence_of(item, call, report, state.order.get(item.nodeid, 0))
    file = item.getparent(PlaybookFile)
    assert file is not None
    settings = state.model_for(file.playbook).settings
    evidence.metadata["failure_policy"] = settings.failure_policy
    if settings.tier is not None:
        evidence.metadata["tier"] = settings.tier
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
        state.halt(f"halted by failure policy {policy} after {evidence['gate_id']} failed in {report.nodeid}")
