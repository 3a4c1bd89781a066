"""checklist.md: the first failure with its steps, the others named, nothing where nothing failed."""

from __future__ import annotations

import pytest

from pytest_aprqa.reporting.checklist import OTHERS, checklist
from tests.reporting.attempt_factory import attempt, scored


def test_nothing_failed_nothing_to_look_at():
    assert checklist([attempt(), attempt("Skipped")], None) is None


def test_a_gateway_comes_before_an_earlier_failure():
    entries = [
        attempt("Falsified", gate_id="F-EDGE-001", gateway=None, severity="P1", check="test_edge"),
        attempt("Falsified", gate_id="G1-LOAD-001", gateway="G1", advice="load it", check="test_loads"),
    ]
    page = checklist(entries, scored(entries)) or ""
    assert page.startswith("# Checklist: `G1-LOAD-001` ")
    assert "Score: 0/1000, F, BLOCKED." in page
    assert "- [ ] load it" in page
    assert "- `F-EDGE-001` " in page
    assert checklist(entries, scored(entries)) == page


@pytest.mark.parametrize(("failures", "more"), [(OTHERS + 1, False), (OTHERS + 2, True)])
def test_many_failures_are_counted(failures, more):
    page = checklist([attempt("Falsified", node_id=f"p::test[{n}]") for n in range(failures)], None) or ""
    assert ("- ... and 1 more" in page) is more
    assert "Score: no score." in page


def test_hostile_text_makes_no_markup():
    page = checklist([attempt("Falsified", reason="<script>\n# x | y", title="[a](b)", advice="*b*")], None) or ""
    assert "<script>" not in page
    assert "\n# x" not in page
    assert "[a](b)" not in page
