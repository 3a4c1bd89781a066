"""Change of speed: a real loss is seen, noise is not taken for one, and what could be seen is stated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pytest_aprqa.suite.speed_profile import BaselineError, peak_memory_mib, read_baseline
from pytest_aprqa.suite.speed_statistics import change, median, percentile


def samples(centre, spread=0.02, count=20, seed=0):
    return (centre * np.random.default_rng(seed).lognormal(0, spread, count)).tolist()


def test_percentiles_are_nearest_ranks():
    assert percentile([5, 1, 3], 50) == 3
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([7], 99) == 7
    assert median([4, 1, 3]) == 3
    assert median([4, 1, 3, 2]) == 2.5


@pytest.mark.parametrize(("share", "lost"), [(0.85, True), (0.90, True), (0.96, False), (1.0, False), (1.2, False)])
def test_a_loss_beyond_the_limit_is_seen_and_a_smaller_one_is_allowed(share, lost):
    found = change(samples(100), samples(100 * share, seed=1), 0.05)
    assert found.is_loss_beyond(0.05) == lost
    assert found.low < found.ratio < found.high


def test_noise_alone_is_reported_in_less_than_three_per_cent_of_runs():
    wrong = sum(
        change(samples(100, 0.2, 10, seed), samples(100, 0.2, 10, seed + 1000), 0.05).is_loss_beyond(0.05)
        for seed in range(200)
    )
    assert wrong <= 6


def test_the_detectable_loss_grows_with_noise_and_is_seen_in_four_of_five_runs():
    quiet, noisy = (change(samples(100, s), samples(100, s, seed=1), 0.05).detectable for s in (0.01, 0.2))
    assert 0.05 < quiet < 0.1 < noisy
    seen = 0
    for seed in range(100):
        loss = change(samples(100, 0.05, 20, seed), samples(100, 0.05, 20, seed + 500), 0.05).detectable
        now = samples(100 * (1 - loss), 0.05, 20, seed + 1000)
        seen += change(samples(100, 0.05, 20, seed), now, 0.05).is_loss_beyond(0.05)
    assert seen >= 65  # 80 in the mean; the bootstrap of 20 samples is not exact


@pytest.mark.parametrize(("before", "words"), [([1.0, 2.0], "2 samples"), ([1.0, 2.0, 0.0], "above 0")])
def test_too_few_or_senseless_samples_are_refused(before, words):
    with pytest.raises(ValueError, match=words):
        change(before, [1.0, 2.0, 3.0], 0.05)


def test_a_baseline_is_read_and_a_damaged_one_refused_with_its_name(tmp_path):
    path = tmp_path / "baseline.json"
    good = {"version": 1, "speeds": {"gguf-cpu": {"samples": [1.5, 2]}}}
    path.write_text(json.dumps(good))
    assert read_baseline(path)["gguf-cpu"]["samples"] == [1.5, 2]
    for bad in ("{", "[]", '{"version": 2, "speeds": {}}', json.dumps(good).replace("[1.5, 2]", '["x"]')):
        path.write_text(bad)
        with pytest.raises(BaselineError, match=r"baseline\.json"):
            read_baseline(path)
    with pytest.raises(BaselineError, match="cannot be read"):
        read_baseline(tmp_path / "absent.json")


def test_memory_of_a_process_that_is_gone_is_not_told():
    assert peak_memory_mib(None) is None
    assert peak_memory_mib(2**22 + 1) is None
