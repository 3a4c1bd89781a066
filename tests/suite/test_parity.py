"""The margin rule, and what a model's answers must be to count as the reference's: just below and just above."""

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.fixtures import Observe
from pytest_aprqa.reference_answers import LOGIT_TOKENS, ReferenceAnswer, _checked, _margins, _room
from pytest_aprqa.suite import parity
from pytest_aprqa.suite.parity import token_difference
from pytest_aprqa.suite.test_behaviour_parity import test_output_is_free_of_padding as padding_check

EXPECTED = ReferenceAnswer("Hi", [1, 2], [10, 11, 12], "abc", [5.0, 0.2, 5.0])


def result(new_ids, text="abc", prompt_ids=(1, 2)):
    return SimpleNamespace(new_ids=new_ids, text=text, prompt_ids=list(prompt_ids))


def test_the_same_ids_do_not_differ():
    assert token_difference(EXPECTED, result([10, 11, 12]), 0.1) is None


@pytest.mark.parametrize(("limit", "matters"), [(0.19, True), (0.2, False), (0.21, False)])
def test_another_token_matters_above_the_margin(limit, matters):
    difference = token_difference(EXPECTED, result([10, 99, 98]), limit)
    assert (difference.at, difference.expected, difference.found) == (1, [11, 12], [99, 98])
    assert difference.margin == 0.2
    assert difference.matters == matters


def test_only_the_first_difference_is_judged():
    assert not token_difference(EXPECTED, result([10, 99, 55]), 0.3).matters
    assert token_difference(EXPECTED, result([77, 11, 12]), 0.3).matters


def test_an_answer_that_ends_early_is_judged_by_the_lead_of_what_is_missing():
    assert token_difference(EXPECTED, result([10, 11]), 0.3).matters
    assert not token_difference(EXPECTED, result([10]), 0.3).matters


def test_an_answer_that_goes_on_has_no_margin_to_excuse_it():
    assert token_difference(EXPECTED, result([10, 11, 12, 13]), 1e9).matters


def test_another_prompt_is_excused_by_no_margin():
    assert token_difference(EXPECTED, result([10, 99, 12], prompt_ids=(1, 3)), 1e9).matters


def test_an_engine_without_ids_is_judged_by_its_text():
    assert token_difference(EXPECTED, result(None), 0.1) is None
    assert token_difference(EXPECTED, result(None, text="abd"), 0.1).at == 2


class Alone:
    """A host whose model goes 1, 2, 3, ... whatever came before; counts what it is asked to generate."""

    def __init__(self):
        self.generated = 0

    def logits(self, ids, timeout_s):
        return np.eye(10, dtype=np.float32)[[(i + 1) % 10 for i in ids]]

    def generate(self, requests, timeout_s):
        self.generated += len(requests)
        return [result([3, 4], prompt_ids=(1, 2)) for _ in requests]


@pytest.mark.parametrize(("of_the_batch", "asked_alone"), [([3, 4], 0), ([3, 5], 1), ([4, 4], 1)])
def test_a_reference_of_a_batch_is_what_the_prompt_alone_gives(of_the_batch, asked_alone):
    host = Alone()
    answer, logits = _checked(host, None, result(of_the_batch), 1)
    assert (answer.new_ids, host.generated) == ([3, 4], asked_alone)
    assert logits.argmax(axis=1).tolist() == [2, 3, 4, 5]


def test_a_refused_prompt_has_no_logits():
    assert _checked(Alone(), None, SimpleNamespace(prompt_ids=None, new_ids=None), 1)[1] is None


def test_margins_are_the_lead_of_the_best_token():
    logits = np.array([[1, 4, 2.5, 0], [9, 1, 1, 8.75], [0, 0, 0, 0]], np.float32)
    assert _margins(logits, 2) == [1.5, 0.25]
    assert _margins(logits, 3)[2] == 0


def test_room_for_logits_ends_at_half_of_the_limits():
    assert _room([[0] * (LOGIT_TOKENS // 2 - 5)], 5, 100)
    assert not _room([[0] * (LOGIT_TOKENS // 2 - 5)], 6, 100)
    assert not _room([], 150, 10**6)


def test_hidden_states_name_the_first_layer_that_grows_apart(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    theirs = [rng.standard_normal((4, 8)).astype(np.float32) for _ in range(4)]
    mine = [a.copy() for a in theirs]
    mine[2] += 0.1 * rng.standard_normal((4, 8)).astype(np.float32)
    mine[3] += 0.1 * rng.standard_normal((4, 8)).astype(np.float32)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x")
    host = SimpleNamespace(
        start=lambda: None, close=lambda: None, load=lambda *a, **k: None, hidden_states=lambda *a, **k: theirs
    )
    monkeypatch.setattr("pytest_aprqa.engines.host.EngineHost", lambda *a, **k: host)
    engine = SimpleNamespace(hidden_states=lambda ids: mine, timeout_s=1)
    model = SimpleNamespace(source=lambda: SimpleNamespace(path=path))
    layer, error = parity.first_divergent_layer(engine, model, [1, 2, 3, 4], 1)
    assert layer == 2
    assert error == pytest.approx(0.01, rel=0.5)
    mine[2], mine[3] = theirs[2], theirs[3]
    assert parity.first_divergent_layer(engine, model, [1, 2, 3, 4], 1) is None


@pytest.mark.parametrize(
    ("answers", "flooded"), [([[5, 5, 1, 1]], False), ([[5, 5, 5, 1]], True), ([[9, 9, 9, 1]], True), ([[1, 1]], False)]
)
def test_more_than_half_of_padding_is_a_flood(monkeypatch, answers, flooded):
    tokenizer = SimpleNamespace(tokens=["a", "b", "c", "d", "e", "[PAD5]"], token_types=[1] * 5 + [5])
    artifact = SimpleNamespace(tokenizer=tokenizer)
    reference = SimpleNamespace(answers=[ReferenceAnswer("Hi", [1], [1, 2], "ab", [1.0, 1.0])])
    found = [result(ids) for ids in answers]
    monkeypatch.setattr(parity, "answers_of", lambda *a: (reference, found, None))
    observe = Observe()
    if flooded:
        with pytest.raises(AssertionError, match="padding"):
            padding_check(None, artifact, None, None, None, observe)
        assert observe.values[-1]["cause"] == "flood of padding"
    else:
        padding_check(None, artifact, None, None, None, observe)
