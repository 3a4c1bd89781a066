"""The distribution test accepts sound draws, refuses others, and knows top-p; checked against known quantiles."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from pytest_aprqa.suite.sampling_statistics import fit, probabilities

LOGITS = np.array([2.0, 1.0, 0.0, -1.0, -30.0], np.float32)


def draws(distribution, count=400, seed=0):
    return Counter(np.random.default_rng(seed).choice(len(distribution), count, p=distribution).tolist())


def test_probabilities_are_the_softmax_at_a_temperature():
    weights = np.exp(LOGITS.astype(float) / 2)
    assert probabilities(LOGITS, 2.0) == pytest.approx(weights / weights.sum())


@pytest.mark.parametrize(("top_p", "kept"), [(0.6, 1), (0.65, 2), (0.9, 3), (1.0, 5)])
def test_top_p_keeps_the_smallest_set_that_holds_the_share(top_p, kept):
    found = probabilities(LOGITS, 1.0, top_p)  # 0.644, 0.237, 0.087, 0.032
    assert int((found > 0).sum()) == kept
    assert found.sum() == pytest.approx(1)


def test_sound_draws_stay_far_below_the_limit_in_a_thousand_runs():
    expected = probabilities(LOGITS, 1.0)
    assert max(fit(expected, draws(expected, seed=seed)).z for seed in range(1000)) < 5


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_draws_at_another_temperature_are_refused(temperature):
    assert fit(probabilities(LOGITS, 1.0), draws(probabilities(LOGITS, temperature))).z > 6


def test_an_impossible_draw_is_refused_and_a_certain_model_says_nothing():
    expected = probabilities(LOGITS, 1.0, 0.6)
    assert fit(expected, Counter({0: 399, 1: 1})).z == math.inf
    assert fit(expected, Counter({0: 400})).freedom == 0


def test_the_normal_form_is_that_of_the_tables():
    # Upper 0.1 % point of chi-square with 3 degrees of freedom is 16.266, of the normal distribution 3.090.
    result = fit(np.full(4, 0.25), Counter({0: 100, 1: 100, 2: 100, 3: 100}))
    assert result.statistic == 0
    moved = fit(np.full(4, 0.25), Counter({0: 128, 1: 96, 2: 104, 3: 72}))
    assert moved.statistic == pytest.approx(16.0)
    assert moved.z == pytest.approx(3.05, abs=0.05)
