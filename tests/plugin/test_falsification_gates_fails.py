"""`falsification_gates`: what does not hold is Falsified with the measured value; what nobody measures is said."""

from __future__ import annotations

import pytest


@pytest.fixture
def run(project):
    def run(conditions, fault="no_fault", engine="pytest_aprqa.misbehaving_engine"):
        project.pytester.makeconftest(f"""
            import pytest_aprqa.engines.selection as selection

            selection.engine_for = lambda *arguments, **options: "{engine}:{fault}"
        """)
        stated = [
            {"id": f"F-{number}", "description": "stated", "condition": text, "severity": severity}
            for number, (text, severity) in enumerate(conditions)
        ]
        path = project.write_playbook(falsification_gates=stated)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", "condition_holds or configured_block")
        found = project.evidence()
        assert {e["gate_id"][:-3] for e in found} == {"F-FALSIFICATION-"}
        return {next(n for n in range(len(stated)) if f"[F-{n}-" in e["node_id"]): e for e in found}

    return run


def test_conditions_that_hold_pass_under_their_severity_and_one_that_does_not_is_falsified(run):
    found = run([
        ("crashes == 0 and timeouts == 0", "P0"), ("load.status == ok", "P0"), ("output.length > 0", "P1"),
        ("output.length > 100", "P1"), ("arithmetic.failed == 0", "P2"), ("new_tokens <= max_tokens", "P2"),
        ("repeat.output == output", "P1"), ("garbage_share <= 0.25", "P0"), ("health.status == 200", "P1"),
        ("completions.json == valid", "P1"), ("cpu.tokens_per_second >= 100000000", "P1"),
        ("empty_prompt.crashed == 0 and unicode_prompt.crashed == 0", "P2"),
    ])  # fmt: skip
    assert {n for n, entry in found.items() if entry["outcome"] == "Falsified"} == {3, 10}
    assert {entry["outcome"] for n, entry in found.items() if n not in (3, 10)} == {"Corroborated"}
    assert "`output.length > 100` does not hold: output.length is 44.0" in found[3]["reason"]
    assert [found[n]["severity"] for n in (0, 2, 4)] == ["P0", "P1", "P2"]


@pytest.mark.parametrize(
    ("fault", "condition"),
    [
        ("drifts", "repeat.output == output"),
        ("ignores_the_token_limit", "new_tokens < 1"),
        ("drifts", "health.status == 500"),
    ],
)
def test_a_fault_of_the_engine_is_named(run, fault, condition):
    (entry,) = run([(condition, "P1")], fault).values()
    assert entry["outcome"] == "Falsified"
    assert condition in entry["reason"]


def test_what_nobody_measures_here_is_skipped_with_the_reason(run):
    found = run([("score >= baseline.score", "P1"), ("gpu.tokens_per_second >= 100", "P1"), ("be nice", "P2")])
    assert {entry["outcome"] for entry in found.values()} == {"Skipped"}
    assert "baseline.score is no fact of one engine and file; known: load.status" in found[0]["reason"]
    assert "this cell runs on the cpu" in found[1]["reason"]
    assert "`be nice` has no meaning" in found[2]["reason"]
