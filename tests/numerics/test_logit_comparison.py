"""Divergence, best tokens and perplexity over logits equal those of a plain float64 computation."""

import math
from collections import Counter

import numpy as np
import pytest

from pytest_aprqa.numerics import row_divergence
from pytest_aprqa.numerics.behaviour_limits import behaviour_limits
from pytest_aprqa.numerics.logit_comparison import LARGEST_DECADE, SMALLEST_DECADE, compare_logits


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def path(request, monkeypatch):
    """Both ways to the same figures; the compiled one from the first logit of a large vocabulary on."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="numba is not installed: pip install pytest-aprqa[fast]")
        monkeypatch.setattr(row_divergence, "WORTH_COMPILING", 1)
    else:
        monkeypatch.setattr(row_divergence, "compiled_loops", lambda: None)


def logits(tokens, vocabulary, seed, scale=3.0):
    return (np.random.default_rng(seed).standard_normal((tokens, vocabulary)) * scale).astype(np.float32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_equal_logits_have_no_distance():
    a = logits(100, 50, 0)
    distance = compare_logits([(list(range(50)) * 2, a, a.copy())])
    assert (distance.tokens, distance.mean_kld, distance.standard_error) == (100, 0, 0)
    assert (distance.top1_agreement, distance.perplexity_ratio) == (1, 1)
    assert distance.disagreements == []
    assert distance.decades == {SMALLEST_DECADE: 100}


def test_divergence_equals_the_plain_computation():
    a, b = logits(130, 40, 1), logits(130, 40, 2)
    p, q = softmax(a), softmax(b)
    expected = (p * (np.log(p) - np.log(q))).sum(axis=1)
    distance = compare_logits([([0] * 130, a, b)])
    assert distance.mean_kld == pytest.approx(expected.mean(), rel=1e-12)
    assert distance.standard_error == pytest.approx(expected.std(ddof=1) / math.sqrt(130), rel=1e-9)
    assert distance.worst == (0, int(expected.argmax()), pytest.approx(expected.max()))
    assert distance.decades == Counter(np.floor(np.log10(expected)).astype(int).tolist())
    assert distance.top1_agreement == pytest.approx((p.argmax(1) == q.argmax(1)).mean())


def test_a_divergence_beyond_the_last_power_of_ten_is_counted_in_it():
    a = np.array([[1e4, 0.0]], dtype=np.float32)
    assert compare_logits([([0], a, a[:, ::-1].copy())]).decades == {LARGEST_DECADE: 1}


def test_adding_a_constant_to_the_logits_changes_nothing():
    a = logits(20, 30, 3)
    assert compare_logits([([0] * 20, a, a + np.float32(100))]).mean_kld == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("vocabulary", "noise"), [(151_936, 0.05), (151_936, 1e-3), (16385, 0.05), (16384, 0.05)])
def test_the_sums_of_a_large_vocabulary_are_those_of_float64(vocabulary, noise):
    """Far below what llama.cpp's tool prints, also where little is left of large terms."""
    a = logits(6, vocabulary, 8)
    b = a + logits(6, vocabulary, 9, noise)
    p, q = softmax(a), softmax(b)
    expected = (p * (np.log(p) - np.log(q))).sum(axis=1)
    distance = compare_logits([([5] * 7, a, b)])
    assert distance.mean_kld == pytest.approx(expected.mean(), abs=5e-8)


def test_the_result_does_not_depend_on_the_threads():
    triples = [([1] * 40, logits(40, 30_000, 10 + i), logits(40, 30_000, 20 + i)) for i in range(3)]
    one, three = compare_logits(triples, threads=1), compare_logits(triples, threads=3)
    assert one == three


def test_the_counted_rows_only_are_those_rows_of_the_whole():
    a, b = logits(64, 50, 11), logits(64, 50, 12)
    ids = [int(row.argmax()) for row in np.roll(a, 1, axis=0)]
    half = compare_logits([(ids, a[32:63], b[32:63])], first=32)
    whole = compare_logits([(ids, a[32:], b[32:])], first=32)
    assert (half.tokens, half.predicted, whole.tokens, whole.predicted) == (31, 31, 32, 31)
    assert half.loss == whole.loss
    assert half.worst[1] >= 32
    assert half.mean_kld == pytest.approx(compare_logits([(ids[32:63], a[32:63], b[32:63])]).mean_kld)


@pytest.mark.parametrize("vocabulary", [3, 16_384, 16_385])
def test_finite_logits_beyond_what_float32_can_subtract_are_compared(vocabulary):
    a = np.zeros((2, vocabulary), np.float32)
    a[:, :3] = [[3e38, -3e38, 0.0], [1.0, 2.0, 3.0]]
    distance = compare_logits([([0, 1], a, a)])
    assert (distance.not_finite, distance.tokens, distance.mean_kld) == (0, 2, 0)


@pytest.mark.parametrize("vocabulary", [3000, 17_000])
def test_what_float32_can_tell_from_no_chance_weighs_nothing(vocabulary):
    """Logits that are impossible for both models may be any distance apart."""
    a, b = logits(2, vocabulary, 17), logits(2, vocabulary, 17)
    a[:, 7], b[:, 7] = -1e30, -2e37
    assert compare_logits([([0, 1], a, b)]).mean_kld == 0


@pytest.mark.parametrize("lowest", [-80.0, -86.9, -87.1, -103.0, -1000.0])
def test_exponentials_at_the_end_of_float32_are_those_of_float64(lowest):
    a = np.full((1, 20_000), lowest, np.float32)
    b = a + np.float32(30)
    a[0, 5] = b[0, 5] = 0
    q = softmax(b)[0, 5]
    assert compare_logits([([0], a, b)]).mean_kld == pytest.approx(-math.log(q), abs=5e-8)


@pytest.mark.parametrize("vocabulary", [3000, 17_000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1, 2])
def test_one_logit_that_is_not_finite_is_seen_on_either_side(value, side, vocabulary):
    a, b = logits(4, vocabulary, 13), logits(4, vocabulary, 13)
    for one in (a, b)[: side + 1] if side < 2 else (b,):
        one[2, 2999] = value
    distance = compare_logits([([0] * 4, a, b)])
    assert (distance.not_finite, distance.tokens, distance.mean_kld) == (1, 3, 0)


def test_perplexity_is_that_of_the_next_token_within_a_sequence():
    a, b = logits(3, 20, 4), logits(3, 20, 5)
    ids = [7, int(a[0].argmax()), int(a[1].argmax())]
    distance = compare_logits([(ids, a, b)])
    for found, of in (
        (distance.perplexity_reference, a),
        (distance.perplexity_reference * distance.perplexity_ratio, b),
    ):
        loss = -np.mean([math.log(softmax(of)[i, ids[i + 1]]) for i in range(2)])
        assert found == pytest.approx(math.exp(loss))
    assert distance.predicted == 2


def test_a_text_on_which_the_source_is_worse_than_chance_has_no_perplexity():
    a = logits(3, 20, 6)
    bad = [0, int(a[0].argmin()), int(a[1].argmin())]
    assert compare_logits([(bad, a, a)]).predicted == 0
    assert compare_logits([(bad, a, a)]).perplexity_ratio == 1
    good = [0, int(a[0].argmax()), int(a[1].argmax())]
    assert compare_logits([(bad, a, a), (good, a, a)]).predicted == 2


def test_a_disagreement_says_where_and_by_how_much_the_source_led():
    a = np.zeros((70, 5), np.float32)
    a[66] = [0, 3.0, 0, 1.0, 0]
    b = a.copy()
    b[66] = [0, 1.0, 0, 3.0, 0]
    (one,) = compare_logits([([0] * 70, a[:, :], b)]).disagreements
    assert (one.sequence, one.position, one.expected, one.found) == (0, 66, 1, 3)
    assert one.margin == pytest.approx(2.0)


def test_positions_that_are_not_finite_are_counted_and_compared_with_nothing():
    a, b = logits(10, 8, 7), logits(10, 8, 7)
    b[3, 2], b[9, 0] = np.nan, np.inf
    distance = compare_logits([([0] * 10, a, b)])
    assert (distance.not_finite, distance.tokens, distance.mean_kld) == (2, 8, 0)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="reference \\[2, 5\\], found \\[2, 6\\]"):
        compare_logits([([0, 1], np.zeros((2, 5), np.float32), np.zeros((2, 6), np.float32))])


@pytest.mark.parametrize(("rows", "sound"), [(0, False), (1, False), (2, True), (3, True), (4, False)])
def test_rows_are_those_of_the_ids_or_one_less(rows, sound):
    a = np.zeros((rows, 5), np.float32)
    if sound:
        assert compare_logits([([0, 1, 2], a, a)]).tokens == rows
    else:
        with pytest.raises(ValueError, match="logits of 3 tokens"):
            compare_logits([([0, 1, 2], a, a)])


def test_nothing_compared_is_no_distance_and_no_agreement():
    distance = compare_logits([])
    assert (distance.tokens, distance.top1_agreement) == (0, 0)
    assert math.isnan(distance.perplexity_reference)


def test_limits_grow_as_bits_fall_and_every_type_has_one():
    order = ["BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q4_K", "Q4_0", "Q3_K", "Q2_K"]
    limits = [behaviour_limits(name) for name in order]
    assert [one.kld for one in limits] == sorted(one.kld for one in limits)
    assert [one.margin for one in limits] == sorted(one.margin for one in limits)
    assert behaviour_limits("IQ4_XS") == behaviour_limits("Q4_0")
    assert behaviour_limits("IQ1_S") == behaviour_limits("Q2_K")
