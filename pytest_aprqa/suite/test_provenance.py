"""Provenance: what `.provenance.json` says of the files beside it is true. Without the record nothing is claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.playbook import Playbook

RULES = ("PROV-001", "PROV-002", "PROV-003", "PROV-005", "PROV-006", "PROV-007", "PROV-008", "PROV-009")


@pytest.mark.gate("{rule}", severity="P1")
@pytest.mark.parametrize("rule", RULES)
def test_provenance_holds(rule: str, model: ModelUnderTest, playbook: Playbook, observe: Observe) -> None:
    """The record of sources, converters and hashes agrees with the files, rule by rule."""
    from pytest_aprqa.models.provenance import PROVENANCE_FILE, read_provenance
    from pytest_aprqa.suite.provenance_rules import RULES as JUDGES

    folder = model.location.folder
    folder = folder if folder.is_dir() else folder.parent
    document = read_provenance(folder)
    if document is None:
        pytest.skip(f"PROV-004: no {PROVENANCE_FILE} beside the model: nothing is claimed")
    judge, cause = JUDGES[rule]
    problems = judge(document, folder, playbook.matrix.formats)
    observe("entries", 1 + len(document.get("derived") or ()), limit=">= 1")
    observe("contradictions", len(problems), limit=0, passed=not problems)
    for where, found, limit in problems:
        observe.finding(where, found, limit, cause)
    observe.advise("the record or the file was exchanged: convert again and record what was made")
    told = [f"{where}: expected {limit}, got {found}" for where, found, limit in problems]
    assert not told, f"{rule}: {cause} for {listed(told)}"
