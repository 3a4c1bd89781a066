"""The first layer that stands out: its floor and its jump, just below and just above."""

import math

import numpy as np
import pytest

from pytest_aprqa.numerics.first_divergence import FLOOR, JUMP, first_layer


def states(layers=4):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 8)).astype(np.float32) for _ in range(layers)]


def moved(state, nmse):
    """The state with an error of NMSE."""
    return (state.astype(np.float64) * (1 + math.sqrt(nmse))).astype(np.float64)


@pytest.mark.parametrize(("factor", "found"), [(0.99, None), (1.01, 2)])
def test_a_layer_is_named_above_the_floor(factor, found):
    reference = states()
    other = [*reference[:2], moved(reference[2], FLOOR * factor), reference[3]]
    layer = first_layer(reference, other)
    assert (layer and layer[0]) == found
    assert layer is None or layer[1] == pytest.approx(FLOOR * factor, rel=1e-3)


@pytest.mark.parametrize(("factor", "found"), [(0.99, None), (1.01, 3)])
def test_an_error_that_grows_by_less_than_the_jump_came_in_with_the_states(factor, found):
    reference = states()
    before = FLOOR * 0.9
    other = [*reference[:2], moved(reference[2], before), moved(reference[3], before * JUMP * factor)]
    layer = first_layer(reference, other)
    assert (layer and layer[0]) == found


def test_another_shape_and_states_that_are_not_finite_are_named():
    reference = states()
    layer, error = first_layer(reference, [reference[0], reference[1][:, :4]])
    assert layer == 1
    assert math.isnan(error)
    bad = reference[2].copy()
    bad[0, 0] = np.nan
    assert first_layer(reference, [*reference[:2], bad])[0] == 2


def test_equal_states_and_no_states_name_nothing():
    assert first_layer(states(), states()) is None
    assert first_layer([], []) is None
