import pytest

from pytest_aprqa.scoring.categories import MAXIMA, category_of, points


@pytest.mark.parametrize(
    ("gate_id", "category"),
    [
        ("F-CONV-RT-001", "REGR"),
        ("F-CONV-RT-BYTE-001", "REGR"),
        ("F-CONV-IDEM-001", "REGR"),
        ("F-CONV-COM-001", "REGR"),
        ("F-CONV-G-A", "COMP"),
        ("F-CONV-CARD-001", "COMP"),
        ("F-CONTRACT-I2-001", "COMP"),
        ("G0-INTEGRITY-CONFIG", "STAB"),
        ("G0-PULL-001", "STAB"),
        ("F-QUAL-001", "QUAL"),
        ("F-perf-001", "PERF"),
        ("F-STAB-001", "STAB"),
        ("F-COMP-001", "COMP"),
        ("F-EDGE-P1-001", "EDGE"),
        ("F-REGR-001", "REGR"),
        ("F-A1-001", "QUAL"),
        ("F-A6-001", "QUAL"),
        ("G2-BASIC", "QUAL"),
        ("G3-STABLE", "QUAL"),
        ("F-LAYOUT-CONTRACT-002", "QUAL"),
        ("F-GOLDEN-RULE-001", "QUAL"),
        ("F-HF-PARITY-001", "QUAL"),
        ("F-OLLAMA-001", "QUAL"),
        ("F-PERFECT-001", "QUAL"),
        ("unknown", "QUAL"),
        ("", "QUAL"),
    ],
)
def test_the_first_rule_that_applies_decides(gate_id, category):
    assert category_of(gate_id) == category


def test_the_maxima_make_a_thousand():
    assert MAXIMA == {"QUAL": 200, "PERF": 150, "STAB": 200, "COMP": 150, "EDGE": 150, "REGR": 150}
    assert sum(MAXIMA.values()) == 1000


@pytest.mark.parametrize(
    ("passed", "total", "maximum", "expected"),
    [
        (3, 4, 150, 113),  # 112.5: half away from zero, where round() would give 112
        (17, 18, 200, 189),
        (1, 3, 150, 50),
        (2, 3, 200, 133),
        (1, 2, 150, 75),
        (0, 5, 200, 0),
        (5, 5, 200, 200),
        (1, 400, 200, 1),  # 0.5
        (1, 401, 200, 0),
        (0, 0, 150, 150),
    ],
)
def test_points_round_half_away_from_zero(passed, total, maximum, expected):
    assert points(passed, total, maximum) == expected
