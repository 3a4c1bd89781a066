"""`property_tests`: what does not hold is refuted by its smallest prompt; what has no meaning is skipped."""

from __future__ import annotations

import pytest

SUMS = {
    "name": "sums are right",
    "generator": "arithmetic(a: 1..50, b: 1..50, op: +)",
    "oracle": "correct",
    "count": 40,
}
REPEATS = {"name": "repeats", "generator": "qa_prompt()", "oracle": "run(seed) == run(seed)", "count": 5}


@pytest.fixture
def run(project):
    def run(properties, fault="no_fault", hidden=""):
        project.pytester.makeconftest(f"""
            import importlib.util

            import pytest_aprqa.engines.selection as selection

            selection.engine_for = lambda *arguments, **options: "pytest_aprqa.misbehaving_engine:{fault}"
            find_spec = importlib.util.find_spec
            importlib.util.find_spec = lambda name, *rest: None if name == {hidden!r} else find_spec(name, *rest)
        """)
        path = project.write_playbook(property_tests=properties)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", "property_holds or configured_block")
        return {e["node_id"].split("::")[1]: e for e in project.evidence()}

    return run


def test_an_engine_that_always_says_four_is_refuted_by_the_smallest_sum(run):
    (entry,) = run([SUMS]).values()
    assert (entry["gate_id"], entry["outcome"]) == ("F-PROP-001", "Falsified")
    observed = {one["name"]: one["value"] for one in entry["observed"]}
    assert observed["smallest_prompt"] == "What is 1+1?"
    assert observed["judged"] >= 1
    assert "sums are right: 'What is 1+1?': arithmetic: " in entry["reason"]
    assert "sums-are-right" in entry["node_id"]


def test_properties_that_hold_pass_and_one_that_does_not_repeat_fails(run):
    wanted = [REPEATS, SUMS | {"name": "says something", "oracle": "output.len() > 0", "count": 5}]
    assert {e["outcome"] for e in run(wanted).values()} == {"Corroborated"}
    (entry,) = run([REPEATS], "drifts").values()
    assert entry["outcome"] == "Falsified"
    assert "two answers with one seed" in entry["reason"]


def test_what_has_no_meaning_and_what_nobody_judged_is_not_proven(run):
    odd = SUMS | {"name": "odd", "oracle": "vibes(output)"}
    unjudged = SUMS | {"name": "unjudged", "oracle": "valid_syntax", "count": 5}
    found = run([odd, unjudged])
    reasons = {name.split("[")[1]: (e["outcome"], e["reason"]) for name, e in found.items()}
    assert {outcome for outcome, _ in reasons.values()} == {"Skipped"}
    text = " ".join(reason for _, reason in reasons.values())
    assert "`vibes(output)` has no meaning" in text
    assert "the oracle code_syntax judged none of " in text


def test_the_short_form_asks_any_prompt_as_often_as_it_says(run):
    (entry,) = run({"enabled": True, "cases": 6, "max_shrink_iters": 2}).values()
    observed = {one["name"]: one["value"] for one in entry["observed"]}
    assert 1 <= observed["prompts"] <= 6 + 3


def test_without_hypothesis_nothing_is_proven_and_nothing_breaks(run):
    (entry,) = run([SUMS], hidden="hypothesis").values()
    assert entry["outcome"] == "Skipped"
    assert "needs Hypothesis: pip install 'pytest-aprqa[invariants]'" in entry["reason"]
