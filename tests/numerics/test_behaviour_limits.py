"""How many positions may differ beyond the margin: none of many bits, few of two bits; data with sources."""

import pytest

from pytest_aprqa.numerics.behaviour_limits import BehaviourLimits, behaviour_limits
from pytest_aprqa.numerics.limits import limits_table, noise_floor

TABLE = limits_table()["behaviour"]
# Positions of the measurement that changed beyond the margin, of 1,541 (sources of limits.json).
MEASURED = {"Q8_0": 0, "Q6_K": 0, "Q5_K": 7, "Q4_K": 3, "Q4_0": 11, "Q3_K": 11, "Q2_K": 25}
FAMILIES = "random models"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "Q8_0", "Q6_K"])
@pytest.mark.parametrize("positions", [1, 200, 100_000])
def test_exact_types_and_many_bits_may_not_change_one(dtype, positions):
    assert behaviour_limits(dtype).allowed_beyond(positions) == 0


@pytest.mark.parametrize(
    ("share", "positions", "allowed"), [(0.025, 202, 11), (0.025, 0, 0), (0.01, 100, 4), (0.01, 10_000, 130)]
)
def test_the_share_and_three_standard_deviations(share, positions, allowed):
    assert BehaviourLimits(1.0, 1.0, 1.0, share).allowed_beyond(positions) == allowed


@pytest.mark.parametrize("dtype", MEASURED)
def test_the_limit_is_above_what_was_measured_and_of_its_order(dtype):
    share = behaviour_limits(dtype).beyond_margin
    measured = MEASURED[dtype] / 1541
    assert measured <= share
    assert share <= max(1.6 * measured, behaviour_limits("Q5_K").beyond_margin)
    assert f"{MEASURED[dtype]} (" in TABLE["sources"]["beyond_margin"]


def test_fewer_bits_never_get_a_smaller_share():
    order = ["F32", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K"]
    shares = [behaviour_limits(name).beyond_margin for name in order]
    assert shares == sorted(shares)


@pytest.mark.parametrize("dtype", limits_table()["noise_floor"][FAMILIES]["nmse"])
def test_the_row_of_all_families_covers_random_models_of_each(dtype):
    own, every = noise_floor(dtype, FAMILIES), noise_floor(dtype)
    assert 0.5 * every < own < every
