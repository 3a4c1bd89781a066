"""How many positions may differ beyond the margin: none of eight bits, few of two; data with sources."""

import pytest

from pytest_aprqa.numerics.behaviour_limits import BehaviourLimits, behaviour_limits
from pytest_aprqa.numerics.limits import limits_table, noise_floor

TABLE = limits_table()["behaviour"]
ABOVE = 1.5  # the limit over the worst family
MEASURED = TABLE["noise_floor"]["small trained models"]["beyond_margin"]
FEWER = ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K"]
RUN = 320  # positions that a run compares at most
FAMILIES = "random models"


@pytest.mark.parametrize("dtype", ["F32", "F16", "Q8_0"])
@pytest.mark.parametrize("positions", [1, 200, 100_000])
def test_exact_types_and_eight_bits_may_not_change_one(dtype, positions):
    assert behaviour_limits(dtype).allowed_beyond(positions) == 0


@pytest.mark.parametrize(
    ("share", "positions", "allowed"), [(0.025, 202, 11), (0.025, 0, 0), (0.01, 100, 4), (0.01, 10_000, 130)]
)
def test_the_share_and_three_standard_deviations(share, positions, allowed):
    assert BehaviourLimits(1.0, 1.0, 1.0, share).allowed_beyond(positions) == allowed
    assert BehaviourLimits(1.0, 1.0, 1.0, 0.0, share).allowed_answers(positions) == allowed


@pytest.mark.parametrize("dtype", MEASURED)
def test_the_limit_is_one_and_a_half_of_the_worst_family_or_that_of_more_bits(dtype):
    more_bits = FEWER[FEWER.index(dtype) - 1] if dtype in FEWER[1:] else "F32"
    wanted = max(ABOVE * MEASURED[dtype], behaviour_limits(more_bits).beyond_margin)
    assert wanted - 1e-4 <= behaviour_limits(dtype).beyond_margin <= 1.1 * wanted


def test_fewer_bits_never_get_a_smaller_share():
    shares = [behaviour_limits(name).beyond_margin for name in FEWER]
    assert shares == sorted(shares)
    assert all(behaviour_limits(name).beyond_margin == 0 for name in ("F32", "F16"))


@pytest.mark.parametrize(("dtype", "allowed"), [("BF16", 1), ("Q6_K", 2), ("Q4_K", 10), ("Q4_0", 11), ("Q2_K", 26)])
def test_a_run_may_have_a_few_positions_beyond_the_margin(dtype, allowed):
    """Just below and just above: one more position than this is refused."""
    assert behaviour_limits(dtype).allowed_beyond(RUN) == allowed
    assert allowed < 0.1 * RUN, "a matrix whose rows are off by one changes more than a third of them"


@pytest.mark.parametrize("dtype", MEASURED)
def test_the_worst_run_that_was_played_is_within_the_limit(dtype):
    most = TABLE["noise_floor"]["small trained models"]["most_beyond_in_a_run"][dtype]
    assert most <= behaviour_limits(dtype).allowed_beyond(RUN)


@pytest.mark.parametrize(("dtype", "answers", "allowed"), [("Q2_K", 4, 1), ("Q2_K", 1, 0), ("Q3_K", 16, 0)])
def test_only_of_two_bits_may_an_answer_part(dtype, answers, allowed):
    assert behaviour_limits(dtype).allowed_answers(answers) == allowed
    assert behaviour_limits("Q2_K").parted_answers == pytest.approx(ABOVE / 48, abs=5e-4)


@pytest.mark.parametrize("dtype", limits_table()["noise_floor"][FAMILIES]["nmse"])
def test_the_row_of_all_families_covers_random_models_of_each(dtype):
    own, every = noise_floor(dtype, FAMILIES), noise_floor(dtype)
    assert 0.5 * every < own < every
