"""The nucleus is the smallest set that holds the share, and what is left sums to one."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.engines.nucleus import nucleus

WEIGHTS = numpy.array([0.1, 0.5, 0.1, 0.3])


@pytest.mark.parametrize(
    ("share", "kept"),
    [(1e-9, [1]), (0.5, [1]), (0.5000001, [1, 3]), (0.79, [1, 3]), (0.81, [0, 1, 3]), (1, [0, 1, 2, 3])],
)
def test_the_smallest_set_that_holds_the_share(share, kept):
    found = nucleus(WEIGHTS, share)
    assert numpy.flatnonzero(found).tolist() == kept
    assert numpy.allclose(found[kept], WEIGHTS[kept] / WEIGHTS[kept].sum())


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_any_distribution(values, share):
    weights = numpy.array(values) / sum(values)
    found = nucleus(weights, share)
    kept = found > 0
    assert found.sum() == pytest.approx(1)
    assert weights[kept].sum() >= share - 1e-9
    if kept.sum() > 1:  # without the least of them the share is not reached
        assert weights[kept].sum() - weights[kept].min() < share + 1e-9
    assert weights[kept].min() >= weights[~kept].max(initial=0)
