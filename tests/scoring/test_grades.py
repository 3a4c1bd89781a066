import itertools

import pytest

from pytest_aprqa.scoring.grades import band, fine_grade, grade, normalize

NORMALIZED = [
    (0, 0), (83, 24.2293), (100, 27.8754), (300, 56.8202), (400, 66.2758), (446, 70.0184), (500, 74.0363),
    (600, 80.6180), (700, 86.3323), (772, 90.0258), (800, 91.3814), (850, 93.7016), (900, 95.9041), (925, 96.9649),
    (1000, 100),
]  # fmt: skip
SMALLEST_RAW = {
    60: 332, 63: 363, 67: 409, 70: 446, 73: 486, 77: 544, 80: 590, 83: 641, 87: 713, 90: 772, 93: 835, 97: 926,
}  # fmt: skip
# least normalised score -> grade, label of the band, fine grade
BANDS = [
    (97, "A+", "CERTIFIED", "A+"),
    (93, "A", "CERTIFIED", "A"),
    (90, "A-", "CERTIFIED", "A-"),
    (87, "B", "PROVISIONAL", "B+"),
    (83, "B", "PROVISIONAL", "B"),
    (80, "C", "Qualifies", "B-"),
    (77, "C", "Qualifies", "C+"),
    (73, "C", "Qualifies", "C"),
    (70, "C", "Qualifies", "C-"),
    (67, "D", "Below threshold", "D+"),
    (63, "D", "Below threshold", "D"),
    (60, "D", "Below threshold", "D-"),
    (0, "F", "BLOCKED", "F"),
]


@pytest.mark.parametrize(("raw", "expected"), NORMALIZED)
def test_normalized_scores_of_the_specification(raw, expected):
    assert normalize(raw) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("raw", "expected"), [(-5, 0), (1000, 100), (1001, 100), (10**9, 100)])
def test_normalized_scores_stay_within_0_and_100(raw, expected):
    assert normalize(raw) == expected


@pytest.mark.parametrize(("threshold", "raw"), SMALLEST_RAW.items())
def test_each_threshold_is_reached_just_at_its_raw_score(threshold, raw):
    assert normalize(raw) >= threshold
    assert normalize(raw - 1) < threshold


@pytest.mark.parametrize(("least", "letter", "label", "fine"), BANDS)
def test_each_band_begins_at_its_threshold(least, letter, label, fine):
    assert (grade(least), band(least), fine_grade(least)) == (letter, label, fine)


@pytest.mark.parametrize(("above", "below"), list(itertools.pairwise(BANDS)))
def test_just_below_a_threshold_is_the_next_band(above, below):
    value = above[0] - 1e-9
    assert (grade(value), band(value), fine_grade(value)) == below[1:]


@pytest.mark.parametrize(
    ("value", "letter"), [(98, "A+"), (95, "A"), (91, "A-"), (85, "B"), (75, "C"), (65, "D"), (50, "F")]
)
def test_both_scales_agree_on_the_shared_values(value, letter):
    assert grade(value) == fine_grade(value) == letter


@pytest.mark.parametrize(("value", "letter"), [(88, "B"), (81, "C"), (71, "C")])
def test_where_the_scales_differ_the_grade_is_the_seeds(value, letter):
    assert grade(value) == letter
    assert fine_grade(value) != letter
