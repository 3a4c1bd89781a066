import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.scoring.falsification import (
    falsification_report,
    hypothesis_of,
    severity_of,
    wilson_lower_bound,
)
from tests.scoring.entries import crashed, failed, passed, skipped, timed_out

EXAMPLE = [
    *[passed("F-QUAL-001") for _ in range(6)],
    failed("F-PERF-001", "too slow"),
    failed("F-PERF-001", "still too slow"),
    crashed("F-STAB-001"),
    timed_out("F-EDGE-001"),
]
# As recorded for smollm2-135m: 27 entries, two G2-BASIC failures; the passes are six G0 and nineteen others.
RECORDED = [
    *[passed("G0-INTEGRITY-CONFIG") for _ in range(6)],
    *[passed("F-A1-001") for _ in range(19)],
    failed("G2-BASIC"),
    failed("G2-BASIC"),
]


@pytest.mark.parametrize(
    ("successes", "trials", "bound"),
    [
        (1, 1, 0.206543), (10, 10, 0.722460), (9, 10, 0.595844), (18, 18, 0.824115), (27, 27, 0.875441),
        (95, 100, 0.888248), (100, 100, 0.963005), (0, 0, 0.0), (0, 10, 0.0),
    ],
)  # fmt: skip
def test_wilson_bounds_of_the_specification(successes, trials, bound):
    assert wilson_lower_bound(successes, trials) == pytest.approx(bound, abs=5e-7)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_the_bound_is_a_share_and_never_above_the_ratio(successes, failures):
    trials = successes + failures
    bound = wilson_lower_bound(successes, trials)
    assert 0.0 <= bound <= (successes / trials if trials else 0.0) + 1e-12


@pytest.mark.parametrize(
    ("gate_id", "severity"),
    [
        ("F-X-P0-001", 5), ("G4-GARBAGE-001", 5), ("F-X-P1-001", 4), ("F-X-P2-001", 3), ("F-EDGE-001", 3),
        ("F-STAB-001", 3), ("F-PERF-001", 2), ("F-QUAL-001", 1), ("F-A1-001", 1), ("F-PERF-P0-001", 5),
    ],
)  # fmt: skip
def test_severity_follows_the_id(gate_id, severity):
    assert severity_of(gate_id) == severity


def test_the_example_of_the_specification():
    report = falsification_report(EXAMPLE)
    assert (report.hypotheses_tested, report.corroborated, report.falsified, report.inconclusive) == (9, 6, 3, 1)
    assert report.corroboration_ratio == pytest.approx(0.6667, abs=5e-5)
    assert report.severity_weighted_score == pytest.approx(6 / 13)
    assert report.confidence_level == pytest.approx(0.3542, abs=5e-5)
    assert report.reproducibility_index == pytest.approx(2 / 3)
    assert report.black_swan_count == 1
    assert [(f.gate_id, f.occurrence_count, f.is_black_swan, f.severity) for f in report.falsifications] == [
        ("F-PERF-001", 2, False, 2),
        ("F-STAB-001", 1, True, 3),
    ]
    assert report.falsifications[0].evidence == "too slow"
    assert report.summary == "3 of 9 hypotheses falsified (33.3%)"
    assert not report.strongly_corroborated


def test_the_recorded_example_of_the_specification():
    report = falsification_report(RECORDED)
    assert report.hypotheses_tested == 27
    assert report.corroboration_ratio == pytest.approx(0.925926, abs=5e-7)
    assert report.severity_weighted_score == pytest.approx(0.860465, abs=5e-7)
    assert report.confidence_level == pytest.approx(0.766300, abs=5e-7)
    assert report.reproducibility_index == 1.0
    assert report.black_swan_count == 2


def test_without_failure_it_is_strongly_corroborated():
    report = falsification_report([passed("F-QUAL-001"), skipped("F-QUAL-002")])
    assert report.summary == "No falsifications - strongly corroborated"
    assert report.strongly_corroborated
    assert report.reproducibility_index == 1.0


@pytest.mark.parametrize("evidence", [[], [skipped("F-QUAL-001")], [timed_out("F-QUAL-001")]])
def test_what_was_not_tested_is_not_corroborated(evidence):
    report = falsification_report(evidence)
    assert report.summary == "No hypothesis was tested"
    assert not report.strongly_corroborated
    assert report.confidence_level == 0.0


@pytest.mark.parametrize(("good", "strong"), [(94, False), (95, True)])
def test_strongly_corroborated_from_95_of_100(good, strong):
    evidence = [passed("F-QUAL-001")] * good + [failed("F-QUAL-002")] * (100 - good)
    assert falsification_report(evidence).strongly_corroborated is strong


@pytest.mark.parametrize(("gate_id", "count"), [("F-X-P1-001", 1), ("F-X-P2-001", 0), ("G0-PULL-001", 1)])
def test_a_failure_from_severity_4_is_a_black_swan(gate_id, count):
    assert falsification_report([failed(gate_id)]).black_swan_count == count


def test_rows_are_sorted_by_id():
    report = falsification_report([failed(name) for name in ("F-Z-1", "F-A-1", "F-M-1")])
    assert [row.gate_id for row in report.falsifications] == ["F-A-1", "F-M-1", "F-Z-1"]


@pytest.mark.parametrize(("gate_id", "word"), [("F-PERF-001", "performance"), ("F-X-001", "Hypothesis for F-X-001")])
def test_hypotheses_are_named_by_the_category_in_the_id(gate_id, word):
    assert word in hypothesis_of(gate_id)


# -- laws --------------------------------------------------------------------------------------------------------------

MAKERS = (passed, failed, timed_out, crashed, skipped)
IDS = ("G0-VALIDATE-001", "F-QUAL-001", "F-PERF-001", "F-EDGE-001", "F-X-P0-001", "F-X-P1-001", "F-X-P2-001")
entries = st.builds(lambda make, gate: make(gate), st.sampled_from(MAKERS), st.sampled_from(IDS))


@given(st.lists(entries, max_size=20))
def test_every_entry_is_counted_once_and_every_share_is_one(evidence):
    report = falsification_report(evidence)
    assert report.hypotheses_tested + report.inconclusive == len(evidence)
    assert report.corroborated + report.falsified == report.hypotheses_tested
    assert sum(row.occurrence_count for row in report.falsifications) == report.falsified
    shares = (
        report.corroboration_ratio,
        report.severity_weighted_score,
        report.confidence_level,
        report.reproducibility_index,
    )
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert report.confidence_level <= report.corroboration_ratio + 1e-12
    assert report.black_swan_count <= report.falsified


@given(st.lists(entries, min_size=1, max_size=20), st.data())
def test_a_refuted_hypothesis_that_holds_never_looks_worse(evidence, data):
    position = data.draw(st.integers(0, len(evidence) - 1))
    worse, better = [*evidence], [*evidence]
    worse[position] = failed(evidence[position].gate_id)
    better[position] = passed(evidence[position].gate_id)
    low, high = falsification_report(worse), falsification_report(better)
    assert high.corroboration_ratio >= low.corroboration_ratio
    assert high.severity_weighted_score >= low.severity_weighted_score
    assert high.confidence_level >= low.confidence_level - 1e-12
    assert high.black_swan_count <= low.black_swan_count


@given(st.lists(entries, min_size=1, max_size=20), st.data())
def test_a_hypothesis_that_is_skipped_is_worth_no_more_than_one_that_holds(evidence, data):
    position = data.draw(st.integers(0, len(evidence) - 1))
    skip, hold = [*evidence], [*evidence]
    skip[position] = skipped(evidence[position].gate_id)
    hold[position] = passed(evidence[position].gate_id)
    low, high = falsification_report(skip), falsification_report(hold)
    assert low.corroboration_ratio <= high.corroboration_ratio
    assert low.severity_weighted_score <= high.severity_weighted_score
    assert low.confidence_level <= high.confidence_level + 1e-12
