"""Every report is made from evidence alone: the same bytes again, read back from the log, and after reshuffled keys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.evidence.record import Evidence, canonical_json
from pytest_aprqa.reporting.github_actions import step_summary, workflow_annotations
from pytest_aprqa.reporting.markdown import report_markdown
from pytest_aprqa.reporting.report_files import ALL, CSV, SARIF, report_text
from pytest_aprqa.reporting.terminal import summary_lines
from pytest_aprqa.reporting.tickets import tickets
from tests.reporting.attempt_factory import attempt, scored, small_run

KILLS = {"defects": [{"name": "a", "verdict": "killed", "killed_by": "G0", "cause": "b"}], "clean": {"tried": 1}}
REPORTERS = {
    **{name: lambda entries, name=name: report_text(name, entries, scored(entries), KILLS) for name in ALL},
    SARIF: lambda entries: report_text(SARIF, entries, None),
    CSV: lambda entries: report_text(CSV, entries, None),
    "terminal": lambda entries: repr(summary_lines(entries, scored(entries), 100)),
    "annotations": lambda entries: "\n".join(workflow_annotations(entries)),
    "step summary": lambda entries: step_summary(report_markdown(entries, scored(entries))),
    "tickets": lambda entries: repr([(t, t.command("a/b", "c.md")) for t in tickets(entries)]),
    "tickets by cause": lambda entries: repr(tickets(entries, by_cause=True)),
}


def rich_run():
    values = [
        {"name": "nmse[model.layers.0.a.weight]", "value": 1e-4, "limit": 1e-2, "unit": "", "passed": True},
        {"name": "texts_alike[digits]", "value": 3, "limit": 4, "unit": "", "passed": False},
        {"name": "positions[kld from 1e-05]", "value": 9, "limit": None, "unit": "", "passed": None},
        {"name": "mean_kld", "value": 1e-5, "limit": 1e-2, "unit": "nats", "passed": True},
    ]
    metrics = {"tokens_per_second": 20.0, "time_to_first_token_ms": 30.0, "total_tokens": 8, "memory_peak_mb": None}
    return [*small_run(), attempt("Timeout"), attempt("Falsified", observed=values), attempt(metrics=metrics)]


@pytest.mark.parametrize("name", sorted(REPORTERS))
def test_the_same_evidence_gives_the_same_bytes(name):
    entries = rich_run()
    first = REPORTERS[name](entries)
    assert first
    assert REPORTERS[name](entries) == first
    read_back = [Evidence.from_dict(json.loads(canonical_json(entry))) for entry in entries]
    assert REPORTERS[name](read_back) == first
    turned = [Evidence.from_dict(dict(reversed(entry.to_dict().items()))) for entry in entries]
    assert REPORTERS[name](turned) == first


@settings(max_examples=15, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["Falsified", "Crashed", "Timeout", "Skipped", "Corroborated"]))
def test_any_bytes_of_an_engine_give_reports_that_can_be_written(data, outcome):
    said = data.decode("utf-8", "surrogateescape")
    fields = {"reason": said} if outcome in ("Falsified", "Skipped") else {}
    fields |= {"stderr": said} if outcome == "Crashed" else {}
    fields |= {"output": said} if outcome in ("Falsified", "Corroborated") else {}
    entries = [attempt(outcome, title=said, advice=said, scenario={"prompt": said}, **fields)]
    for name, make in REPORTERS.items():
        text = make(entries)
        if text is None:  # no score, no certificate
            assert scored(entries) is None
            assert name in ALL
            continue
        text.encode("utf-8")
        assert "\x1b" not in text
