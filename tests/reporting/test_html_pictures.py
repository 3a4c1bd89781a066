"""The pictures of report.html: drift by tensor and layer, numbers against limits, speeds with intervals."""

from __future__ import annotations

import pytest

from pytest_aprqa.reporting.html.drift_map import drift_maps
from pytest_aprqa.reporting.html.kld_plot import kld_plots, place
from pytest_aprqa.reporting.html.limit_bars import limit_bars
from pytest_aprqa.reporting.html.page import report_html
from pytest_aprqa.reporting.html.speed_bars import speed_bars
from pytest_aprqa.reporting.html.token_plot import token_plots
from tests.reporting.attempt_factory import attempt, scored


def nmse(tensor, value, limit, passed=True):
    return {"name": f"nmse[{tensor}]", "value": value, "limit": limit, "unit": "", "passed": passed}


def drift_entry(*values):
    return attempt(observed=list(values), check="test_values_are_preserved")


@pytest.mark.parametrize(
    ("value", "passed", "level"),
    [(0.0, True, 0), (1e-12, True, 1), (0.9e-2, True, 4), (1e-2, True, 4), (1.01e-2, False, 5), ("NaN", False, 5)],
)
def test_shade_says_how_near_the_limit_is(value, passed, level):
    (drift,) = drift_maps([drift_entry(nmse("model.layers.0.mlp.up_proj.weight", value, 1e-2, passed))])
    assert drift.rows[0][1][0].level == level


def test_layers_are_columns_in_order_of_number_and_other_tensors_stand_alone():
    names = ["model.layers.10.a.weight", "model.layers.2.a.weight", "model.layers.2.b.weight", "model.norm.weight"]
    (drift,) = drift_maps([drift_entry(*(nmse(name, 1e-9, 1e-2) for name in names))])
    assert drift.layers == [2, 10]
    assert [(role, [cell is not None for cell in cells]) for role, cells in drift.rows] == [
        ("a.weight", [True, True]),
        ("b.weight", [True, False]),
    ]
    assert [cell.tensor for cell in drift.single] == ["model.norm.weight"]


def test_no_comparison_no_map():
    assert drift_maps([attempt(), attempt(observed=[{"name": "nmse[x]", "value": 1.0, "limit": None}])]) == []


def observed(value, limit, passed, name="kl_divergence"):
    return attempt(observed=[{"name": name, "value": value, "limit": limit, "unit": "nats", "passed": passed}])


def test_bars_are_on_a_scale_of_nine_decades():
    entries = [observed(1e-4, 1e-1, True), observed(1e-10, 1e-1, True), observed(0.2, 0.1, False)]
    assert [(bar.share, bar.held) for bar in limit_bars(entries)] == [(100.0, False), (66.67, True), (0.0, True)]


@pytest.mark.parametrize(
    ("value", "limit", "passed"),
    [(2, 3, True), (0.5, 0.5, True), (0.9, 0.5, True), (float("nan"), 0.5, False), (0.1, None, True), (0.1, 0.5, None)],
    ids=["counts", "equality", "minimum", "not a number", "no limit", "not judged"],
)
def test_what_is_no_upper_limit_is_no_bar(value, limit, passed):
    assert limit_bars([observed(value, limit, passed)]) == []


def speed(number, identity, cell=("gguf", "cpu", "run")):
    return attempt(
        cell=cell,
        scenario={"id": identity},
        metrics={
            "tokens_per_second": number,
            "time_to_first_token_ms": None,
            "total_tokens": 8,
            "memory_peak_mb": None,
        },
    )


def test_bar_has_median_and_quartiles_of_distinct_answers():
    entries = [speed(float(n), f"s{n}") for n in (10, 20, 30, 40, 50)] + [speed(10.0, "s10")]
    (bar,) = speed_bars(entries)
    assert (bar.low, bar.median, bar.high, bar.count) == (20.0, 30.0, 40.0, 5)
    assert bar.shares == (50.0, 75.0, 100.0)
    assert "half of 5 answers between 20 and 40" in bar.text


def test_one_answer_is_a_bar_without_width():
    (bar,) = speed_bars([speed(7.0, "only")])
    assert (bar.low, bar.median, bar.high) == (7.0, 7.0, 7.0)


def test_cells_without_a_measured_answer_have_no_bar():
    assert speed_bars([attempt()]) == []


def alike(kind, count, total):
    return {"name": f"texts_alike[{kind}]", "value": count, "limit": total, "unit": "", "passed": count == total}


def test_token_plot_has_a_bar_per_kind_of_text():
    (plot,) = token_plots([attempt(observed=[alike("digits", 7, 14), alike("emoji", 8, 8)])])
    assert plot.title == "tiny-mvp, gguf"
    assert [(bar.kind, bar.alike, bar.total, bar.share) for bar in plot.bars] == [
        ("digits", 7, 14, 50.0),
        ("emoji", 8, 8, 100.0),
    ]


@pytest.mark.parametrize(("count", "total"), [(0, 0), (-1, 4), (5, 4), ("4", 4), (True, 4), (1, None), (1, ">= 1")])
def test_counts_that_are_no_share_have_no_bar(count, total):
    assert token_plots([attempt(observed=[alike("digits", count, total)])]) == []


def divergence(*decades, mean=1e-4, limit=1e-2, passed=True):
    values = [{"name": f"positions[kld from 1e{power:+03d}]", "value": count} for power, count in decades]
    values += [{"name": "mean_kld", "value": mean, "limit": limit, "passed": passed}]
    return attempt(cell=("gguf", "cpu", None), observed=values)


def test_divergence_plot_counts_positions_by_power_of_ten():
    (plot,) = kld_plots([divergence((-5, 3), (-4, 1))])
    assert plot.title == "tiny-mvp, gguf, cpu"
    assert plot.positions == 4
    heights = {words: height for _, _, height, words in plot.shapes if height}
    assert heights == {"3 positions from 1e-5 to 1e-4 nats": 100.0, "1 position from 1e-4 to 1e-3 nats": 50.0}
    assert plot.marks == [("mean", 112.0, "before"), ("limit", 168.0, "after")]
    assert plot.text == "4 positions, mean 0.0001 nats, limit 0.01 nats"


@pytest.mark.parametrize(("value", "x"), [(0.0, 0), (1e-30, 0), (1e-8, 0), (1e-7, 28), (99.9, 280), (1e9, 280)])
def test_a_divergence_beyond_the_axis_stands_at_its_end(value, x):
    assert place(value) == pytest.approx(x, abs=0.1)


def test_no_position_no_divergence_plot():
    assert kld_plots([divergence(), divergence((-99, 4)), divergence((-5, -4)), attempt()]) == []


def test_a_mean_that_is_no_number_is_not_drawn():
    (plot,) = kld_plots([divergence((0, 1), mean="NaN", limit=None, passed=False)])
    assert (plot.marks, plot.held) == ([], False)


def test_all_pictures_are_in_the_page():
    entries = [
        drift_entry(nmse("model.layers.0.a.weight", 0.5, 1e-2, False), nmse("lm_head.weight", 0.0, 1e-2)),
        observed(1e-4, 1e-1, True),
        speed(12.0, "s1"),
        divergence((-5, 3)),
        attempt(observed=[alike("digits", 7, 14)]),
    ]
    text = report_html(entries, scored(entries))
    for anchor in ("drift", "tokens", "divergence", "limits", "speed"):
        assert f'<section id="{anchor}"' in text
    assert "model.layers.0.a.weight: NMSE 0.5, limit 0.01" in text
