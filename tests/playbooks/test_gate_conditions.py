"""Conditions of `falsification_gates`: what they mean, at their limits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.gate_conditions import LONGEST, parse_gate_condition

TEMPLATES = Path(__file__).parents[2] / "playbooks" / "templates"
STATED = sorted(
    {
        gate["condition"]
        for path in TEMPLATES.glob("*.yaml")
        for gate in yaml.safe_load(path.read_text(encoding="utf-8").replace("${", "x{")).get("falsification_gates", ())
    }
)


@pytest.mark.parametrize("text", STATED)
def test_every_condition_of_our_templates_is_understood(text):
    assert parse_gate_condition(text).names


@pytest.mark.parametrize(
    ("text", "facts", "holds"),
    [
        ("a > 0", {"a": 1.0}, True),
        ("a > 0", {"a": 0.0}, False),
        ("share <= 0.25", {"share": 0.25}, True),
        ("share <= 0.25", {"share": 0.2500001}, False),
        ("a == 0 and b == 0", {"a": 0.0, "b": 1.0}, False),
        ("a == 0 && b == 0", {"a": 0.0, "b": 0.0}, True),
        ("a == 0 || b == 0", {"a": 1.0, "b": 0.0}, True),
        ("load.status == ok", {"load.status": "ok"}, True),
        ("load.status == ok", {"load.status": "failed"}, False),
        ("repeat.output == output", {"repeat.output": "x", "output": "y"}, False),
        ("gpu.speed >= 2 * cpu.speed", {"gpu.speed": 4.0, "cpu.speed": 2.0}, True),
        ("gpu.speed >= 2 * cpu.speed", {"gpu.speed": 3.9, "cpu.speed": 2.0}, False),
        ("now / before > 0.9", {"now": 9.0, "before": 10.0}, False),
        ("now / before > 0.9", {"now": 9.1, "before": 10.0}, True),
        ("a != 1", {"a": 1.0}, False),
    ],
)
def test_a_condition_is_judged_at_its_limit(text, facts, holds):
    condition = parse_gate_condition(text)
    assert condition.names == tuple(sorted(facts))
    assert condition.holds(facts.__getitem__) is holds


@pytest.mark.parametrize(
    "text",
    [
        "", "output", "output.length", "f(x) > 0", "a.b().c > 1", "a[0] > 1", "__import__('os').system('x') == 0",
        "a > 'x'", "1 < a < 3", "not a > 1", "a > True", "lambda: 1", "a > 1; b > 2", "a = 1", "a ** 9 > 1",
        "a > " + "(" * 400, "x" * LONGEST + " > 1",
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_in_one_line(text):
    with pytest.raises(PlaybookError, match="has no meaning") as caught:
        parse_gate_condition(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "facts"),
    [("a > ok", {"a": 1.0}), ("a < b", {"a": "x", "b": "y"}), ("1 / a > 0", {"a": 0.0}), ("a + 1 > 0", {"a": "x"})],
)
def test_values_that_do_not_fit_the_condition_are_refused(text, facts):
    with pytest.raises(PlaybookError, match="has no meaning"):
        parse_gate_condition(text).holds(facts.__getitem__)
