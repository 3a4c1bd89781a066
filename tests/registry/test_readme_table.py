"""The table in a README: between the markers only, sorted, counted, and no cell can become markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_aprqa.registry.errors import RegistryError
from pytest_aprqa.registry.readme_table import END, START, billions, table_lines, with_table
from pytest_aprqa.registry.row import RegistryRow

README = Path("README.md")
WHEN = "2026-03-01 10:00"


def row(model_id="Org/M-1.5B", **texts):
    return RegistryRow.new(model_id, **texts)


def test_only_the_part_between_the_markers_changes():
    text = f"# Title\r\n{START}old{END}\r\nend"
    out = with_table(text, [row()], WHEN, README)
    assert out.startswith(f"# Title\r\n{START}\r\n")
    assert out.endswith(f"\r\n{END}\r\nend")
    assert "old" not in out
    assert "\n" not in out.replace("\r\n", "")


def test_twice_is_once():
    once = with_table(f"{START}{END}", [row(), row("A/B")], WHEN, README)
    assert with_table(once, [row(), row("A/B")], WHEN, README) == once


@pytest.mark.parametrize("text", ["no markers", START, END, f"{END}{START}", f"{START}{START}{END}"])
def test_markers_that_are_not_one_pair_are_refused(text):
    with pytest.raises(RegistryError, match=r"marker|stands before"):
        with_table(text, [], WHEN, README)


def test_every_status_is_counted_as_what_it_is():
    statuses = ["CERTIFIED", "PENDING", "UNTESTED", "PARTIAL", "FAIL", "BLOCKED", "PROVISIONAL"]
    lines = table_lines([row(f"a/{n}", status=status) for n, status in enumerate(statuses)], WHEN)
    assert {"| Certified | 1/7 |", "| Pending | 2/7 |", "| Partial | 1/7 |", "| Fail | 1/7 |"} <= set(lines)


@pytest.mark.parametrize(("text", "number"), [("1.5B", 1.5), ("135M", 0.135), ("7b", 7.0), ("", float("inf"))])
def test_parameters_are_read_as_billions(text, number):
    assert billions(text) == number


def test_rows_are_sorted_by_family_and_size():
    rows = [
        row("z/Big", family="a", parameters="7B"),
        row("z/Small", family="a", parameters="135M"),
        row("a/B", family="b"),
    ]
    names = [line.split("]")[0].lstrip("| [") for line in table_lines(rows, WHEN)[-3:]]
    assert names == ["Small", "Big", "B"]


def test_gateways_and_speeds_are_marked():
    passed = row(status="CERTIFIED", mqs_score="914", g1="true", g2="true", g3="true", g4="true", tps_gguf_cpu="25.46")
    line = table_lines([passed], WHEN)[-1]
    assert "| 914 | - | ✓ | ✗ | 25.5 | - | - | - | - | - |" in line
    assert "| - | - | - | - |" in table_lines([row()], WHEN)[-1]


@given(st.text(max_size=30))
def test_no_cell_becomes_markup_or_a_column(text):
    lines = table_lines([row(family=text, parameters=text, grade=text, status="BLOCKED")], WHEN)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render("\n".join(lines[-3:]))
    assert html.count("<td") == 14
    assert html.count("<a ") == 1
    assert html.count("<img") == 1
    assert "<script" not in html
