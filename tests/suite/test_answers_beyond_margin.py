"""I-1 and the best tokens at their limits: what a clean file of the type may change, and one more."""

from types import SimpleNamespace

import pytest

from pytest_aprqa.numerics.behaviour_limits import behaviour_limits
from pytest_aprqa.numerics.greedy_margin import TokenDifference
from pytest_aprqa.numerics.logit_comparison import Disagreement, LogitDistance
from pytest_aprqa.suite import parity, test_behaviour_parity


class Observed:
    def __init__(self):
        self.values, self.findings = {}, []

    def __call__(self, name, value, **limit):
        self.values[name] = (value, limit.get("limit"))

    def advise(self, text):
        pass

    def finding(self, *parts):
        self.findings.append(parts)


def judge(check, monkeypatch, dtype):
    monkeypatch.setattr(parity, "limits_of", lambda engine, artifact: (dtype, behaviour_limits(dtype)))
    observed, reference = Observed(), SimpleNamespace(file=SimpleNamespace(path=SimpleNamespace(name="m")))
    try:
        check(None, None, reference, None, None, observed)
    except AssertionError as error:
        return observed, str(error)
    return observed, ""


def answers(monkeypatch, total, parted, margin=9.0):
    given = SimpleNamespace(answers=[SimpleNamespace(new_ids=[1, 2], number=i) for i in range(total)])
    difference = TokenDifference("p", 0, [1], [2], margin, 4.0)
    monkeypatch.setattr(parity, "answers_of", lambda *_: (given, given.answers, None))
    monkeypatch.setattr(parity, "token_difference", lambda one, *_: difference if one.number < parted else None)


@pytest.mark.parametrize(
    ("dtype", "total", "parted", "refused"),
    [("Q2_K", 4, 1, False), ("Q2_K", 4, 2, True), ("Q3_K", 4, 1, True), ("F32", 16, 1, True), ("F32", 16, 0, False)],
)
def test_one_answer_of_two_bits_may_part_and_no_other(monkeypatch, dtype, total, parted, refused):
    answers(monkeypatch, total, parted)
    observed, message = judge(test_behaviour_parity.test_round_trip_identity, monkeypatch, dtype)
    assert bool(message) is refused
    assert len(observed.findings) == (parted if refused else 0)
    assert observed.values["prompts_that_matter"][0] == parted


def test_another_prompt_is_no_noise_of_two_bits(monkeypatch):
    answers(monkeypatch, 4, 1, margin=float("inf"))
    _, message = judge(test_behaviour_parity.test_round_trip_identity, monkeypatch, "Q2_K")
    assert message.startswith("1 of 4 prompts differ from the reference")


@pytest.mark.parametrize("dtype", ["BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K"])
@pytest.mark.parametrize("more", [0, 1])
def test_as_many_best_tokens_as_the_limit_may_change_and_not_one_more(monkeypatch, dtype, more):
    limits, tokens = behaviour_limits(dtype), 320
    count = limits.allowed_beyond(tokens) + more
    changed = [Disagreement(0, i, 1, 2, limits.margin + 0.01) for i in range(count)]
    small = [Disagreement(1, i, 1, 2, limits.margin) for i in range(50)]
    distance = LogitDistance(tokens=tokens, disagreements=changed + small)
    monkeypatch.setattr(test_behaviour_parity, "_distance", lambda *_: ([], distance))
    observed, message = judge(test_behaviour_parity.test_best_tokens_are_the_sources, monkeypatch, dtype)
    assert bool(message) is bool(more)
    assert len(observed.findings) == (count if more else 0)
