"""What changed between two runs; nothing that is worse can hide."""

from __future__ import annotations

import pytest

from pytest_aprqa.reporting.run_comparison import compare_runs
from tests.reporting.attempt_factory import attempt

PASS, FAIL, CRASH, SKIP = "Corroborated", "Falsified", "Crashed", "Skipped"


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (PASS, FAIL, "worse"),
        (SKIP, CRASH, "worse"),
        (None, FAIL, "new failure"),
        (PASS, SKIP, "no longer run"),
        (FAIL, SKIP, "no longer run"),
        (PASS, None, "gone"),
        (FAIL, None, "gone"),
        (FAIL, PASS, "better"),
        (SKIP, PASS, "now run"),
        (PASS, PASS, None),
        (FAIL, CRASH, None),
        (SKIP, SKIP, None),
        (None, PASS, None),
        (SKIP, None, None),
    ],
)
def test_kind_of_a_difference(before, after, kind):
    old, new = ([attempt(outcome)] if outcome else [] for outcome in (before, after))
    assert [d.kind for d in compare_runs(old, new)] == ([kind] if kind else [])


def test_items_are_matched_wherever_the_run_took_place():
    old = attempt(node_id="/a/tiny.playbook.yaml::test_x[gguf]")
    new = attempt("Falsified", node_id="/b/tiny.playbook.yaml::test_x[gguf]")
    (difference,) = compare_runs([old], [new])
    assert (difference.kind, difference.item) == ("worse", "tiny-mvp::test_x[gguf]")


def test_worries_come_first():
    old = [attempt("Falsified", check="a"), attempt(check="b"), attempt(check="c")]
    new = [attempt(check="a"), attempt("Falsified", check="b")]
    assert [d.kind for d in compare_runs(old, new)] == ["worse", "gone", "better"]
