"""Tolerances of the golden comparison at their limits, biases, and that the self-check notices a blind comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_aprqa.suite import corpus_self_check
from pytest_aprqa.suite.corpus_answers import ask
from pytest_aprqa.suite.corpus_parity import LogitParity, ToleranceError, compare, level_for, level_named
from pytest_aprqa.suite.golden_corpus import Golden

RANDOM = np.random.default_rng(7)
LOGITS = RANDOM.normal(0, 5, (3, 100)).astype(np.float32)
GOLDEN = Golden("Hi", [1, 2], LOGITS.argmax(axis=1).tolist(), "x", LOGITS)


def close(found, expected, level="fp32"):
    return compare(np.array([expected], np.float64), np.array([found], np.float64), level_named(level)).passed


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (1.000001, 1.0, True),
        (1.1, 1.0, False),
        (1_000_100.0, 1_000_000.0, True),
        (1_000_101.0, 1_000_000.0, False),
        (1e-6, 0.0, True),
        (1e-4, 0.0, False),
        (math.nan, 1.0, False),
    ],
)
def test_a_value_is_close_up_to_the_tolerance_of_fp32(found, expected, same):
    assert close(found, expected) == same


@pytest.mark.parametrize(("level", "wrong", "passed"), [("int4", 10, True), ("int4", 11, False), ("fp32", 1, True)])
def test_as_many_values_may_be_wrong_as_the_level_allows(level, wrong, passed):
    expected = np.tile([10.0, -10.0], 50)
    found = expected.copy()
    found[:wrong] += np.sign(found[:wrong]) * 2.6
    assert compare(expected, found, level_named(level)).passed == passed


def test_a_nan_has_an_infinite_difference_and_two_empty_arrays_agree():
    found = LOGITS.copy()
    found[1, 7] = np.nan
    result = compare(LOGITS, found, level_named("int4"))
    assert result.largest == math.inf
    assert not result.passed
    assert compare(LOGITS[:0], LOGITS[:0], level_named("fp32")).passed


def test_biases_are_named():
    assert "shape [3, 99], expected [3, 100]" in str(compare(LOGITS, LOGITS[:, :-1], level_named("int4")))
    assert "scaled by 1.2" in str(compare(LOGITS, LOGITS * 1.2, level_named("int4")))
    assert "systematic shift by 20" in str(compare(LOGITS, LOGITS + 20, level_named("int4")))
    assert "correlation" in str(compare(LOGITS, LOGITS[:, ::-1], level_named("int4")))


def test_levels_follow_the_stored_type_and_an_unknown_name_is_refused():
    names = [level_for(one).name for one in ("F32", "BF16", "Q8_0", "Q4_K", "IQ2_XS")]
    assert names == ["fp32", "fp16", "int8", "int4", "int4"]
    with pytest.raises(ToleranceError, match="found 'fp8'; one of fp32, fp16, int8, int4"):
        level_named("fp8")


@pytest.mark.parametrize("level", ["fp32", "fp16", "int8", "int4"])
def test_the_self_check_passes_for_a_comparison_that_bites(level):
    assert all(right for _, right in corpus_self_check.self_check(GOLDEN, level_named(level)))


def test_the_self_check_notices_a_comparison_that_cannot_fail(monkeypatch):
    monkeypatch.setattr(corpus_self_check, "compare", lambda *sides: LogitParity(1, 0, 0.0, 0.01))
    said = dict(corpus_self_check.self_check(GOLDEN, level_named("fp32")))
    assert said.pop("itself")
    assert not any(said.values())


def test_a_prompt_is_judged_by_ids_then_logits_then_tokens():
    level = level_named("fp32")

    def answers(change=lambda logits: logits):
        return lambda ids: np.concatenate([np.zeros((len(ids) - 3, 100), np.float32), change(LOGITS.copy())])

    assert ask(GOLDEN, lambda text: [1, 2], answers(), level).passed
    assert "prompt ids [9] (1), [1, 2] (2)" in ask(GOLDEN, lambda text: [9], answers(), level).problems[0]

    def another_token(logits):
        logits[1, (LOGITS[1].argmax() + 1) % 100] = 99
        return logits

    problems = ask(GOLDEN, lambda text: [1, 2], answers(another_token), level).problems
    assert any(problem.startswith("token 1: id ") for problem in problems)
